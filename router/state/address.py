"""Reads DATABASE_URL: the part that asyncpg gets, and whether a pooler is behind it. Pure."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

_POOLER_PORT = "6543"  # of Supabase's transaction pooler
_TRUE = ("true", "1", "yes", "on")
# Parameters that ORMs add for themselves. PostgreSQL refuses parameters that it does not know.
_NOT_POSTGRESQLS = frozenset({"pgbouncer", "connection_limit", "pool_timeout"})


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a PostgreSQL.

    `pools_transactions`: there is a pooler that may give each transaction another connection.
    Session state and prepared statements do not work reliably then.
    """

    dsn: str
    pools_transactions: bool

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the address that the text describes.

        A pooler is recognised by Supabase's port 6543 or by `?pgbouncer=true`. `?pgbouncer=false`
        says that there is none.
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
    """Return the ports of all hosts. Those in the query win over those in the address itself."""
    given = [port for name, value in query if name == "port" for port in value.split(",")]
    if given:
        return set(given)
    hosts = parts.netloc.rpartition("@")[2]
    return {host.rpartition(":")[2] for host in hosts.split(",")}
