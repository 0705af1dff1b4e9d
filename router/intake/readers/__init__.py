"""Readers of Evolution's webhooks, one for each kind: pure."""
