"""Reading DATABASE_URL: what asyncpg may get of it, and what kind of server is there. Pure."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

_POOLER_PORT = "6543"  # of Supabase's transaction pooler
_TRUE = ("true", "1", "yes", "on")
# What ORMs add to the address for themselves. PostgreSQL refuses parameters it does not know.
_NOT_POSTGRESQLS = frozenset({"pgbouncer", "connection_limit", "pool_timeout"})


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a PostgreSQL.

    `pools_transactions`: behind it is a pooler that may give each transaction another connection,
    so session state cannot be relied on, and neither can prepared statements.
    """

    dsn: str
    pools_transactions: bool

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the address that the text describes.

        A pooler is recognised by Supabase's port 6543, or by `?pgbouncer=true`; with
        `?pgbouncer=false` there is none.
        """
        parts = urlsplit(text)
        query = parse_qsl(parts.query, keep_blank_values=True)
        told = {name: value for name, value in query if name in _NOT_POSTGRESQLS}
        if told:
            kept = [(name, value) for name, value in query if name not in told]
            text = urlunsplit(parts._replace(query=urlencode(kept)))
        if "pgbouncer" in told:
            return cls(text, told["pgbouncer"].lower() in _TRUE)
        return cls(text, _POOLER_PORT in _ports(parts, query))


def _ports(parts: SplitResult, query: list[tuple[str, str]]) -> set[str]:
    """Return the ports of every host: of the address proper, or of its query, which wins."""
    given = [port for name, value in query if name == "port" for port in value.split(",")]
    if given:
        return set(given)
    hosts = parts.netloc.rpartition("@")[2]
    return {host.rpartition(":")[2] for host in hosts.split(",")}
