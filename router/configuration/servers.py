"""The Evolution servers, and which of their URLs a tenant may have. Pure.

A tenant's evo_server_url is scheme, host and port. A path before Evolution's own is accepted only
if EVOLUTION_SERVERS names it: otherwise a tenant could use a path to reach another business's
instance. Only servers that are named there get EVOLUTION_API_KEY, because it opens every instance.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

_ADDRESS = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[^\s\x00-\x20\x7f\\/?#@:%\[\]]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^\x00-\x20\x7f]*)?",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9._~-]*)*/?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_Place: TypeAlias = tuple[str, str, int, str]
"""Scheme, host, port and path: two servers differ if one of these differs."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers in EVOLUTION_SERVERS, each in the spelling that is used there."""

    _named: Mapping[_Place, str] = field(default_factory=dict)

    @classmethod
    def of(cls, urls: Iterable[str]) -> "Servers":
        """Read EVOLUTION_SERVERS. Raises ValueError, with what is wrong and the fix."""
        return cls({named_place(url): url.rstrip("/") for url in urls})

    @property
    def are_named(self) -> bool:
        """Whether there are any."""
        return bool(self._named)

    def has(self, url: str) -> bool:
        """Whether the deployment names this server, in any spelling of its URL."""
        return _place(url) in self._named

    def fault_of(self, url: str) -> str | None:
        """Return what is wrong with the URL of a tenant's server; None: nothing."""
        place = _place(url)
        if place is None:
            return "must be scheme, host and port: https://evolution.example.com:8080"
        if place[3] and place not in self._named:
            return (
                "must end behind host and port. Where a proxy needs a path, name the whole URL"
                " in EVOLUTION_SERVERS"
            )
        return None

    def address_of(self, url: str) -> str:
        """Return the URL to use for a tenant's server. Raises ValueError if it is not allowed.

        For a named server this is the deployment's spelling of it, not the tenant's.
        """
        if (fault := self.fault_of(url)) is not None:
            raise ValueError(f"evo_server_url {fault}")
        place = _place(url)
        assert place is not None  # noqa: S101 - it would have been a fault
        return self._named.get(place) or _text(place)


def named_place(url: str) -> _Place:
    """Return the place of a server that EVOLUTION_SERVERS names. Raises ValueError."""
    place = _place(url)
    if place is None or not _PREFIX.fullmatch(place[3]):
        raise ValueError(
            "is not the URL of a server. Write http://evolution:8080, or, behind a proxy that"
            " needs it, https://host.example/path"
        )
    return place


def shown_server(url: str) -> str:
    """Return a URL without what may be a secret: everything after host and port."""
    place = _place(url)
    return "its evo_server_url" if place is None else _text(place)


def _text(place: _Place) -> str:
    scheme, host, port, _ = place
    return f"{scheme}://{host}" + ("" if port == _DEFAULT_PORTS[scheme] else f":{port}")


def _place(url: str) -> _Place | None:
    found = _ADDRESS.fullmatch(url)
    if found is None:
        return None
    scheme = found["scheme"].lower()
    port = int(found["port"] or _DEFAULT_PORTS[scheme])
    if not 0 < port < 65536:
        return None
    host = found["host"].lower().rstrip(".")
    return (scheme, host, port, (found["path"] or "").rstrip("/")) if host else None
