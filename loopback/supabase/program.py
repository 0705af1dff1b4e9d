"""The real PostgREST, if it is installed, behind a loopback project's gateway.

It listens before it knows the schema, and answers 503 (PGRST002) until it does.
"""

import asyncio
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import Response

from loopback.server import HOST
from router.embedded.ports import free_port

_DEADLINE = 60.0  # enough even on a machine that is busy with other tests
_NO_FUNCTION = "/rpc/nothing_has_this_name"
_POLL = 0.02
_HEADERS = (
    "Authorization",
    "Accept",
    "Accept-Profile",
    "Content-Profile",
    "Content-Type",
    "Prefer",
)


def major_version(program: Path) -> int:
    """Return 12 for a PostgREST 12.0.2."""
    said = subprocess.run(  # noqa: S603 - chosen by the person who runs the tests
        [program, "--version"], capture_output=True, text=True, check=True, timeout=_DEADLINE
    ).stdout
    found = re.search(r"\d+", said)
    if found is None:
        raise RuntimeError(f"{program} --version says {said!r}: is it PostgREST?")
    return int(found[0])


class PostgRESTProgram:
    """The program, on its own port; it is reached through the gateway."""

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
        """Start PostgREST, and return when it has read the schema."""
        self._http = httpx.AsyncClient(base_url=f"http://{HOST}:{self._port}", timeout=60)
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            env={**os.environ, **self._environment},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(_DEADLINE):
            while True:
                if await self._knows_the_schema():
                    return
                await asyncio.sleep(_POLL)

    async def _knows_the_schema(self) -> bool:
        """Whether it looks functions up: the request is for a function that does not exist."""
        assert self._http is not None and self._process is not None  # noqa: S101, PT018
        if self._process.returncode is not None:
            raise RuntimeError(f"{self._program} ended with {self._process.returncode}")
        try:
            answer = await self._http.post(_NO_FUNCTION, json={})
        except httpx.TransportError:
            return False
        return answer.status_code != 503

    async def close(self) -> None:
        """Kill it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._http is not None:
            await self._http.aclose()

    async def answer(self, request: Request, path: str) -> Response:
        """Pass a request to PostgREST, and return its answer."""
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
