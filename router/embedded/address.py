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
_SOCKET_PORT = 5432  # part of the socket file's name; nothing listens on this port


@dataclass(frozen=True, slots=True)
class Address:
    """A folder with a Unix socket; with `tcp`, also a port of 127.0.0.1 (on Windows, only that)."""

    sockets: Path
    port: int = _SOCKET_PORT
    tcp: bool = ONLY_TCP

    @property
    def host(self) -> str:
        """The host, as libpq uses the word: 127.0.0.1, or the socket's folder."""
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
        """Return this address with a port that no program listens on at this moment."""
        return replace(self, port=free_port())

    def answers(self, pg_isready: Path) -> bool:
        """Whether a server accepts connections here. This is tried with a real connection."""
        if not ONLY_TCP and not (self.sockets / f".s.PGSQL.{self.port}").exists():
            return False
        target = ["-h", self.host, "-p", str(self.port), "-U", SUPERUSER, "-d", "postgres"]
        code, _ = run([pg_isready, "-q", "-t", "3", *target], None)
        return code == 0
