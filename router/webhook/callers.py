"""Where a webhook comes from, behind whatever proxies: pure."""

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from router.outbound.addresses import Address, Network

_LONGEST_FORWARDED = 2000


def caller_address(
    peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]
) -> Address | None:
    """Return the address of the caller; None where it cannot be told.

    `peer` is who holds the connection. Only if that is a trusted proxy does what it says count:
    the last address in X-Forwarded-For (`forwarded`, each line of it) that is no trusted proxy's.
    What stands before that anybody can have written.
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


def is_within(address: Address, networks: Sequence[Network]) -> bool:
    """Whether an address is in one of the networks."""
    return any(address.version == network.version and address in network for network in networks)


def _read(text: str) -> Address | None:
    """Return the address that stands there, also with a port: `1.2.3.4:5`, `[::1]:5`."""
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
