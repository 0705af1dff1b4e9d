"""A Supabase project for a test: its roles, and PostgREST over the test's own database."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx

from loopback.supabase import Supabase
from loopback.supabase.postgrest import VERSION
from loopback.supabase.program import PostgRESTProgram, major_version

# As Supabase has them. Roles are those of the whole server.
ROLES = """
    create role anon nologin;
    create role authenticated nologin;
    create role service_role nologin bypassrls;
    create role authenticator login noinherit password 'authenticator';
    grant anon, authenticated, service_role to authenticator;
"""
# What the connection of a test's own does with `set hybridflow.clock_offset`, for PostgREST's.
_CLOCK = """
    create schema tests;
    create table tests.clock (clock_offset text not null);
    insert into tests.clock values ('0');
    create function tests.set_clock() returns void language sql security definer as $$
        select set_config('hybridflow.clock_offset', clock_offset, true) from tests.clock
    $$;
    grant usage on schema tests to anon, authenticated, service_role;
"""
_DEADLINE = 60.0
_POLL = 0.02


class TestProject(Supabase):
    """The project over `database_url`: with the real PostgREST `program`, or with the double.

    Time is moved with `update tests.clock set clock_offset = '3 hours'`.
    """

    __test__ = False

    def __init__(self, database_url: str, program: Path | None = None) -> None:
        dsn = as_authenticator(database_url)
        schemas, pre_request = ("public",), "tests.set_clock"
        self.version = VERSION if program is None else major_version(program)
        """PostgREST's major one."""
        if program is None:
            super().__init__(dsn, schemas=schemas, pre_request=pre_request)
        else:
            super().__init__(
                dsn,
                rest=lambda secret: PostgRESTProgram(program, dsn, secret, schemas, pre_request),
            )

    @property
    def configuration(self) -> dict[str, str]:
        """What a router is told of it."""
        return {
            "DATABASE_URL": "",
            "SUPABASE_URL": self.url,
            "SUPABASE_SERVICE_ROLE_KEY": self.secret_key,
        }

    async def knows(self, function: str, **arguments: object) -> None:
        """Call a function that was made a moment ago, until PostgREST has read of it.

        The real one reads the schema again some time after it was told to; the double at once.
        """
        client = httpx.AsyncClient(headers={"apikey": self.secret_key}, timeout=_DEADLINE)
        async with asyncio.timeout(_DEADLINE), client as http:
            while True:
                answer = await http.post(f"{self.url}/rest/v1/rpc/{function}", json=arguments)
                if answer.status_code not in (404, 503):
                    return
                await asyncio.sleep(_POLL)


async def add_clock(database_url: str) -> None:
    """Let PostgREST's transactions follow the test's time."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_CLOCK)
    finally:
        await connection.close()


def as_authenticator(dsn: str) -> str:
    """Return the address for the role that PostgREST logs in as."""
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"authenticator:authenticator@{host}"))
