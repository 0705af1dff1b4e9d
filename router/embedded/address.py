"""Where a server listens, and whether it answers there."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self
from urllib.parse import quote

from router.embedded.account import run
from router.embedded.cluster import SUPERUSER
from router.embedded.ports import free_port

ONLY_TCP = sys.platform == "win32"

_LOOPBACK = "127.0.0.1"
_SOCKET_PORT = 5432  # names the socket's file; nothing listens on the port itself


@dataclass(frozen=True, slots=True)
class Address:
    """A folder with a Unix socket; with `tcp` a port of 127.0.0.1 too (on Windows that alone)."""

    sockets: Path
    port: int = _SOCKET_PORT
    tcp: bool = ONLY_TCP

    @property
    def host(self) -> str:
        """What libpq calls the host: 127.0.0.1, or the socket's folder."""
        return _LOOPBACK if self.tcp else str(self.sockets)

    def dsn(self, password: str) -> str:
        """Return the address for asyncpg and libpq."""
        who = f"{SUPERUSER}:{quote(password, safe='')}"
        if self.tcp:
            return f"postgresql://{who}@{_LOOPBACK}:{self.port}/postgres?sslmode=disable"
        return f"postgresql://{who}@/postgres?host={quote(self.host, safe='/')}&port={self.port}"

    def settings(self) -> dict[str, str]:
        """Return the settings that make a server listen here."""
        return {
            "listen_addresses": _LOOPBACK if self.tcp else "",
            "port": str(self.port),
            "unix_socket_directories": "" if ONLY_TCP else f'"{self.sockets}"',
        }

    def with_free_port(self) -> Self:
        """Return the same with a port that nobody listens on at this moment."""
        return replace(self, port=free_port())

    def answers(self, pg_isready: Path) -> bool:
        """Whether a server takes connections here: really asked."""
        if not ONLY_TCP and not (self.sockets / f".s.PGSQL.{self.port}").exists():
            return False
        target = ["-h", self.host, "-p", str(self.port), "-U", SUPERUSER, "-d", "postgres"]
        code, _ = run([pg_isready, "-q", "-t", "3", *target], None)
        return code == 0
