"""The real PostgREST, where there is one, as the rest of a loopback project."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import Response

from loopback.server import HOST
from router.embedded.ports import free_port

_DEADLINE = 20.0
_HEADERS = (
    "Authorization",
    "Accept",
    "Accept-Profile",
    "Content-Profile",
    "Content-Type",
    "Prefer",
)


def find_program() -> Path | None:
    """Return the program that POSTGREST_BIN names, or that is on the PATH, if there is one."""
    found = os.environ.get("POSTGREST_BIN") or shutil.which("postgrest")
    return Path(found) if found else None


class PostgRESTProgram:
    """The program, on a port of its own, reached through the gateway."""

    def __init__(
        self,
        program: Path,
        dsn: str,
        jwt_secret: str,
        schemas: Sequence[str],
        pre_request: str | None,
    ) -> None:
        self._program = program
        self._port = free_port()
        self._environment = {
            "PGRST_DB_URI": dsn,
            "PGRST_DB_SCHEMAS": ",".join(schemas),
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_POOL": "10",
            "PGRST_JWT_SECRET": jwt_secret,
            "PGRST_SERVER_HOST": HOST,
            "PGRST_SERVER_PORT": str(self._port),
            "PGRST_LOG_LEVEL": "crit",
        }
        if pre_request:
            self._environment["PGRST_DB_PRE_REQUEST"] = pre_request
        self._process: asyncio.subprocess.Process | None = None
        self._http: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Start it, and return when it listens."""
        self._http = httpx.AsyncClient(base_url=f"http://{HOST}:{self._port}", timeout=60)
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            env={**os.environ, **self._environment},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(_DEADLINE):
            while True:
                try:
                    _, writer = await asyncio.open_connection(HOST, self._port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    async def close(self) -> None:
        """Kill it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._http is not None:
            await self._http.aclose()

    async def answer(self, request: Request, path: str) -> Response:
        """Pass a request on, and its answer back."""
        assert self._http is not None  # noqa: S101  # it is open while requests come
        answer = await self._http.request(
            request.method,
            path,
            params=request.url.query,
            content=await request.body(),
            headers={name: request.headers[name] for name in _HEADERS if name in request.headers},
        )
        return Response(
            answer.content,
            status_code=answer.status_code,
            media_type=answer.headers.get("Content-Type"),
        )
