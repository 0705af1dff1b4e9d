"""Stored tenants: finding, checking and saving them, sealing and opening their keys."""
