"""The certificates that are trusted for TLS."""

import ssl
from functools import cache

import httpx


@cache
def trusted() -> ssl.SSLContext:
    """Return the shared context; reading its certificates blocks the event loop for a while."""
    return httpx.create_ssl_context()
