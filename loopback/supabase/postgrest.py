"""PostgREST as a loopback program: its rules for `/rpc` and plain tables, on a real PostgreSQL.

It logs in as the same role as PostgREST (authenticator) and takes the role of the JWT for one
transaction, so that PostgreSQL itself enforces grants and row level security. If PostgREST's
versions differ, this follows 14, which refuses more than earlier versions.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import orjson
from starlette.requests import Request
from starlette.responses import Response

from loopback.supabase.answers import Refused, refused_by_postgresql
from loopback.supabase.callers import ANONYMOUS, read_claims
from loopback.supabase.functions import (
    FUNCTIONS,
    Function,
    find_function,
    read_function,
)
from loopback.supabase.tables import TableRequest

Claims = Mapping[str, Any]
VERSION = 14
_READS = ("GET", "HEAD")
_JSON = "application/json"
_UNDERSTOOD = (_JSON, "*/*", "application/*")
# PostgREST repeats a call for ever on these, even if they are raised on purpose: a function that
# always raises one gets no response.
_REPEATED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_TABLES = """
    select n.nspname || '.' || c.relname from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = any($1) and c.relkind in ('r', 'v', 'm', 'p', 'f')
"""
_ASSUME = """
    select set_config('role', $1, true), set_config('request.jwt.claims', $2, true),
        set_config('request.method', $3, true), set_config('request.path', $4, true),
        set_config('search_path', $5, true)
"""


class PostgREST:
    """The double. `pre_request` is the function to call at the start of every transaction."""

    def __init__(
        self, dsn: str, jwt_secret: str, schemas: Sequence[str], pre_request: str | None
    ) -> None:
        self._dsn = dsn
        self._secret = jwt_secret
        self._schemas = list(schemas)
        self._pre_request = pre_request
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._listener: asyncpg.Connection[asyncpg.Record] | None = None
        self._functions: tuple[Function, ...] | None = None
        self._tables: frozenset[str] = frozenset()
        self._reading_schema = asyncio.Lock()

    async def open(self) -> None:
        """Start. The schema is read when it is first needed."""
        self._pool = await asyncpg.create_pool(
            self._dsn, min_size=0, max_size=10, timeout=5, reset=_keep_session
        )

    async def close(self) -> None:
        """Stop at once, like a killed process."""
        if self._listener is not None:
            self._listener.terminate()
            self._listener = None
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None
        self._functions = None

    async def answer(self, request: Request, path: str) -> Response:
        """Answer a request; `path` begins with a slash."""
        anonymous = True
        try:
            claims = read_claims(request.headers.get("Authorization"), self._secret)
            anonymous = claims["role"] == ANONYMOUS
            schema = self._schema(request)
            _check_accepted(request)
            body = await _body(request)
            await self._read_schema()
            if path.startswith("/rpc/"):
                return await self._call(request, claims, schema, path[5:], body)
            return await self._use_table(request, claims, schema, path[1:], body)
        except Refused as refused:
            return refused.response()
        except asyncpg.PostgresConnectionError:
            return self._lost_database()
        except asyncpg.PostgresError as error:
            return refused_by_postgresql(error, anonymous=anonymous)
        except (OSError, TimeoutError, asyncpg.InterfaceError):
            return self._lost_database()

    def _lost_database(self) -> Response:
        known, self._functions = self._functions, None
        if known is None:
            text = "Could not query the database for the schema cache. Retrying."
            return Refused(503, "PGRST002", text).response()
        return Refused(503, "PGRST001", "Database client error. Retrying.").response()

    def _schema(self, request: Request) -> str:
        header = "Accept-Profile" if request.method in _READS else "Content-Profile"
        schema = request.headers.get(header) or self._schemas[0]
        if schema not in self._schemas:
            raise Refused(
                406,
                "PGRST106",
                f"Invalid schema: {schema}",
                hint=f"Only the following schemas are exposed: {', '.join(self._schemas)}",
            )
        return schema

    async def _read_schema(self) -> None:
        """Read the schema once; again only after `notify pgrst`, as PostgREST does."""
        async with self._reading_schema:
            if self._functions is not None:
                return
            if self._listener is None or self._listener.is_closed():
                self._listener = await asyncpg.connect(self._dsn, timeout=5)
                await self._listener.add_listener("pgrst", self._forget_schema)
            rows = await self._listener.fetch(FUNCTIONS, self._schemas)
            tables = await self._listener.fetch(_TABLES, self._schemas)
            self._tables = frozenset(row[0] for row in tables)
            self._functions = tuple(read_function(dict(row)) for row in rows)

    def _forget_schema(self, *_: object) -> None:
        self._functions = None

    async def _call(
        self, request: Request, claims: Claims, schema: str, name: str, body: bytes
    ) -> Response:
        reads = request.method in _READS
        if not reads and request.method != "POST":
            raise Refused(405, "PGRST101", f"Cannot use the {request.method} method on RPC")
        arguments = dict(request.query_params) if reads else _arguments(request, body)
        function = find_function(self._functions or (), schema, name, tuple(arguments))
        text = await self._run(
            request,
            claims,
            function.statement(tuple(arguments)),
            orjson.dumps(arguments) if reads else body or b"{}",
            reads_only=function.reads_only,
        )
        if function.silent:
            return Response(status_code=204)
        return Response(text, media_type="application/json")

    async def _use_table(
        self, request: Request, claims: Claims, schema: str, table: str, body: bytes
    ) -> Response:
        if f"{schema}.{table}" not in self._tables:
            text = f"Could not find the table '{schema}.{table}' in the schema cache"
            raise Refused(404, "PGRST205", text)
        returning = "return=representation" in request.headers.get("Prefer", "")
        wanted = TableRequest(schema, table, request.query_params.multi_items(), returning)
        match request.method:
            case "GET" | "HEAD":
                text = await self._run(request, claims, wanted.reading())
                return Response(text, media_type="application/json")
            case "POST":
                rows = _rows(body)
                statement = wanted.inserting(sorted({key for row in rows for key in row}))
                given = [orjson.dumps(rows)]
            case "PATCH":
                statement = wanted.updating(sorted(_parsed(body, dict)))
                given = [body]
            case _:
                statement, given = wanted.deleting(), []
        text = await self._run(request, claims, statement, *given)
        made = request.method == "POST"
        if not returning:
            return Response(status_code=201 if made else 204)
        return Response(text, status_code=201 if made else 200, media_type="application/json")

    async def _run(
        self,
        request: Request,
        claims: Claims,
        statement: str,
        *given: bytes,
        reads_only: bool = False,
    ) -> str:
        assert self._pool is not None  # noqa: S101  # it is open while requests are served
        role = (claims["role"], orjson.dumps(dict(claims)).decode())
        asked = (request.method, request.url.path, ", ".join(self._schemas))
        reads_only = reads_only or request.method in _READS
        parts = [part.decode() for part in given]
        async with self._pool.acquire() as connection:
            while True:
                try:
                    async with connection.transaction(readonly=reads_only):
                        await connection.execute(_ASSUME, *role, *asked)
                        if self._pre_request:
                            await connection.execute(f"select {self._pre_request}()")
                        return str(await connection.fetchval(statement, *parts))
                except _REPEATED:
                    continue


async def _keep_session(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Reset nothing: everything that a request sets ends with its transaction."""


async def _body(request: Request) -> bytes:
    return b"" if request.method in _READS else await request.body()


def _check_accepted(request: Request) -> None:
    """Raise Refused for a caller that does not accept JSON."""
    wanted = request.headers.get("Accept", "*/*").split(",")
    if not any(_media_type(each) in _UNDERSTOOD for each in wanted):
        text = f"None of these media types are available: {', '.join(wanted)}"
        raise Refused(406, "PGRST107", text)


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()


def _arguments(request: Request, body: bytes) -> dict[str, Any]:
    """Return the keys of the body; none if its type is not JSON."""
    if _media_type(request.headers.get("Content-Type", _JSON)) != _JSON:
        return {}
    given: dict[str, Any] = _parsed(body or b"{}", dict)
    return given


def _rows(body: bytes) -> list[dict[str, Any]]:
    one_or_more = body if body.lstrip().startswith(b"[") else b"[" + body + b"]"
    rows: list[dict[str, Any]] = _parsed(one_or_more, list)
    if not all(isinstance(row, dict) for row in rows):
        raise Refused(400, "PGRST102", "Empty or invalid json")
    if len({frozenset(row) for row in rows}) > 1:
        raise Refused(400, "PGRST102", "All object keys must match")
    return rows


def _parsed(body: bytes, kind: type) -> Any:
    try:
        given = orjson.loads(body)  # this refuses lone surrogates, like PostgREST
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, kind):
        raise Refused(400, "PGRST102", "Empty or invalid json")
    return given
