"""Decides before a body is read who calls, how often, and how large the body may be."""
