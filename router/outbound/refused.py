"""The failure of a request to an address that may not be reached.

It stands alone, so that a command that knows the error need not load the transport.
"""

import httpx


class AddressRefused(httpx.ConnectError):
    """The host has no address that may be connected to; nothing was sent."""
