"""Who is trusted over TLS."""

import ssl
from functools import cache

import httpx


@cache
def trusted() -> ssl.SSLContext:
    """Return the one context; reading the certificates for it stops the event loop for a while."""
    return httpx.create_ssl_context()
