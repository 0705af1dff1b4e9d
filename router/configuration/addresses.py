"""Which addresses a tenant's URL may lead to. Pure.

Public addresses are allowed, and also the networks and hosts that ALLOWED_NETWORKS names. These are
not public: loopback, private, link-local (clouds serve their metadata there), shared, multicast and
reserved addresses, and IPv6 addresses that wrap such an IPv4 address.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias
from urllib.parse import urlsplit

import httpx

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

LOOPBACK = ("127.0.0.0/8", "::1/128")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are the IPv4 address
# Special-purpose addresses by IANA's registries that some versions of ipaddress call global.
_SPECIAL_4 = (
    IPv4Network("192.0.0.0/24"),  # among them a cloud's metadata
    IPv4Network("192.88.99.0/24"),
    IPv4Network("168.63.129.16/32"),  # Azure's metadata: in no registry, and looks public
)
_SPECIAL_6 = (
    IPv6Network("2001::/23"),  # Teredo and other protocols
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST = 2048


@dataclass(frozen=True, slots=True)
class Allowed:
    """What is allowed besides public addresses: networks, and hosts by name (None: any port)."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def of(cls, entries: Sequence[str]) -> "Allowed":
        """Read `10.1.0.0/16`, `::1`, `evolution` and `evolution:8080`. Raises ValueError."""
        networks: list[Network] = []
        hosts: set[tuple[str, int | None]] = set()
        for entry in entries:
            if "/" in entry or _literal(entry) is not None:
                networks.append(ip_network(entry))
            else:
                hosts.add(_host(entry))
        return cls(tuple(networks), frozenset(hosts))

    def has_host(self, host: str, port: int) -> bool:
        """Whether the deployment allows this host name, whatever address it has."""
        name = host.rstrip(".").lower()
        return (name, None) in self.hosts or (name, port) in self.hosts

    def has_address(self, address: Address) -> bool:
        """Whether a connection to the address may be opened."""
        meant = _unwrapped(address)
        return is_public(meant) or any(
            candidate.version == network.version and candidate in network
            for candidate in (address, meant)
            for network in self.networks
        )


def is_public(address: Address) -> bool:
    """Whether the address is a public one on the internet."""
    if isinstance(address, IPv4Address):
        special = any(address in network for network in _SPECIAL_4)
        return address.is_global and not address.is_multicast and not special
    special = any(address in network for network in _SPECIAL_6)
    return address.is_global and address in _GLOBAL_UNICAST and not special


def fault_of(url: str, allowed: Allowed) -> str | None:
    """Return what is wrong with a tenant's URL, as far as that is known without a DNS lookup."""
    if len(url) > _LONGEST:
        return f"is longer than {_LONGEST} characters"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        wrong = parts.port == 0 or not httpx.URL(url).host.isprintable()
    except (ValueError, httpx.InvalidURL):
        wrong = True
    if wrong:
        return "is not a URL: check host and port"
    if host is None or parts.scheme not in _DEFAULT_PORTS:
        return None  # the state says what form it must have
    if parts.username is not None or parts.password is not None:
        return "must not carry a user name or password"
    address = ip_address("127.0.0.1") if _is_localhost(host) else _literal(host)
    if address is None or allowed.has_host(host, port) or allowed.has_address(address):
        return None
    return f"leads to {host}, which is not a public address. {CURE}"


CURE = "Where it is the deployment's own, name it in ALLOWED_NETWORKS"


def _unwrapped(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


def _literal(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_localhost(host: str) -> bool:
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def _host(entry: str) -> tuple[str, int | None]:
    parts = urlsplit(f"//{entry}")
    # .port raises ValueError if it is not a port
    if parts.hostname is None or entry.strip("[]") != entry or set(entry) & set("@?#_ "):
        raise ValueError(f"{entry!r} is not a host")
    return parts.hostname.rstrip("."), parts.port
