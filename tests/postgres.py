"""One PostgreSQL for the whole test run, and a database of its own for each test."""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import asyncpg
import psutil

from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import MIGRATIONS, migrate
from tests.supabase import ROLES, add_clock

# Nothing here needs to survive a crash, except where a test says so and starts its own server.
FLEETING = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "200",
    "shared_preload_libraries": "plpgsql",  # else each connection loads it: 2 ms
}
_PREFIX = "hybridflow-tests-"
_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 2 * 1024**3

Result = TypeVar("Result")


@contextmanager
def fleeting_folder() -> Iterator[Path]:
    """Make a folder that any user may enter, in memory where there is room, and remove it.

    Copying a database takes 8 ms there, and 10 to 80 on a disk.
    """
    above = _MEMORY if _has_room(_MEMORY) else Path(tempfile.gettempdir())
    _remove_what_killed_runs_left(above)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=above))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def fleeting_server() -> Iterator[EmbeddedPostgres]:
    """Run a server whose data goes with it."""
    with (
        fleeting_folder() as folder,
        EmbeddedPostgres(folder / "postgres", settings=FLEETING) as server,
    ):
        yield server


class Databases:
    """Makes and drops databases, from synchronous code, also beside a running event loop."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._numbers = itertools.count(1)
        self._to_drop: deque[str] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._runner = asyncio.Runner()
        self._connection = self.wait(_connect(dsn))
        self.run(ROLES)
        self._prove_quickly()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait(self._connection.close())
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()

    def wait(self, doing: Coroutine[object, object, Result]) -> Result:
        """Run a coroutine to its end, in the thread of its own that this has."""
        return self._thread.submit(self._runner.run, doing).result()

    def create(self, template: str | None = None) -> str:
        """Return the address of a new database, a copy of the one at `template` or an empty one."""
        self._drop_what_is_left()
        name = f"test_{next(self._numbers)}"
        source = urlsplit(template).path.lstrip("/") if template else "template0"
        self.run(f"create database {name} template {source} strategy file_copy")
        parts = urlsplit(self._dsn)
        return urlunsplit(parts._replace(path=f"/{name}"))

    def drop(self, dsn: str) -> None:
        """Drop a database soon: before the next is made, when its connections have really gone.

        PostgreSQL waits 100 ms where one has not.
        """
        self._to_drop.append(urlsplit(dsn).path.lstrip("/"))

    def _drop_what_is_left(self) -> None:
        while self._to_drop:
            self.run(f"drop database {self._to_drop.popleft()} with (force)")

    def _prove_quickly(self) -> None:
        """Let a password be proven with one hash, not 4,096: 2 ms for each connection."""
        who = urlsplit(self._dsn)
        self.run("set scram_iterations = 1")
        self.run(f"alter role {who.username} password '{who.password}'")

    def run(self, sql: str) -> None:
        """Execute a statement of the whole server's: a database, a role."""
        self.wait(self._connection.execute(sql))


def migrated(databases: Databases) -> str:
    """Return the address of a database with the schema, and nothing in it but the tests' clock.

    SCHEMA_UNDER_TEST names the migrations of a later release: so the state tests of the last one
    hold it to what the routers of the last one rely on (`make test-last-release`).
    """
    dsn = databases.create()
    databases.wait(migrate(dsn, Path(os.environ.get("SCHEMA_UNDER_TEST") or MIGRATIONS)))
    databases.wait(add_clock(dsn))
    return dsn


def later_by(dsn: str, **by: float) -> str:
    """Return the address for a program whose connections find it so much later."""
    moved = {"hybridflow.clock_offset": f"{timedelta(**by).total_seconds()} seconds"}
    return f"{dsn}{'&' if '?' in dsn else '?'}{urlencode(moved, quote_via=quote)}"


async def make_outdated(dsn: str) -> None:
    """Give the database the check of a schema from before there were versions."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "create or replace function public.check_database(p jsonb) returns jsonb"
            " language sql stable set search_path = '' as $$ select '{\"tenants\": 0}'::jsonb $$"
        )
    finally:
        await connection.close()


async def _connect(dsn: str) -> asyncpg.Connection:
    return await asyncpg.connect(dsn)


def _has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > _ENOUGH_BYTES


def _remove_what_killed_runs_left(above: Path) -> None:
    for left in above.glob(f"{_PREFIX}*"):
        pid = left.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
