"""Determines where a call comes from, behind any proxies; nothing else does.

All counting by address uses blocks: an IPv6 caller can choose from a /64 of addresses, so a /64
counts as one.
"""

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

from router.configuration.addresses import Address, Network

_LONGEST_FORWARDED = 2000


def caller_address(
    peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]
) -> Address | None:
    """Return the address of the caller; None if it is unknown.

    `peer` is the other end of the connection. If it is a trusted proxy, the address is the last one
    in X-Forwarded-For (`forwarded`, all its lines) that is not a trusted proxy's; the addresses
    before it may be forged.
    """
    address = _read(peer or "")
    if address is None or not is_within(address, trusted):
        return address
    said = ",".join(forwarded)[-_LONGEST_FORWARDED:]
    for text in reversed(said.split(",") if said else ()):
        address = _read(text)
        if address is None or not is_within(address, trusted):
            return address
    return address


class Callers:
    """Determines the callers of a deployment that trusts these proxies (TRUSTED_PROXIES)."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._trusted = [ip_network(text) for text in trusted_proxies]

    def address_of(self, scope: Scope) -> Address | None:
        """Return the IP address of the caller; None if it is unknown."""
        client = scope.get("client")
        forwarded = Headers(scope=scope).getlist("x-forwarded-for") if self._trusted else ()
        return caller_address(client[0] if client else None, forwarded, self._trusted)

    def block_of(self, scope: Scope) -> str:
        """Return the block by which the caller is counted."""
        return block_of(self.address_of(scope))

    def block_of_peer(self, peer: str | None) -> str | None:
        """Return the block of the other end of a connection; None for a trusted proxy's."""
        address = _read(peer or "")
        if address is not None and is_within(address, self._trusted):
            return None
        return block_of(address)


def block_of(address: Address | None) -> str:
    """Return the address, or its /64; all unknown addresses are one block."""
    if address is None:
        return "unknown"
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


def is_within(address: Address, networks: Sequence[Network]) -> bool:
    """Whether an address is in one of the networks."""
    return any(address.version == network.version and address in network for network in networks)


def _read(text: str) -> Address | None:
    """Return the address in a text, also with a port: `1.2.3.4:5`, `[::1]:5`."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
