"""A flow's media count as memory from their first byte on, however long it has them waited for."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from loopback.server import LoopbackServer
from tests.scenarios.flow import given, n8n, playing

__all__ = ["n8n"]
MOST = 1_000_000  # bytes of a media; of four the base64 is in memory for one tenant at most
LONG = 8000  # milliseconds that a flow has its sends wait


class Films(LoopbackServer):
    def __init__(self) -> None:
        super().__init__(Starlette(routes=[Route("/{path:path}", self._give)]))

    async def _give(self, _: Request) -> Response:
        return Response(b"." * (MOST - 1000), media_type="video/mp4")


@pytest.fixture
def films() -> Iterator[Films]:
    with Films() as server:
        yield server


def at_addresses(films: Films, number: int) -> dict[str, Any]:
    return {"mediatype": "video", "media": f"{films.url}/{number}.mp4"}


def in_base64(_: Films, number: int) -> dict[str, Any]:
    return {"mediatype": "video", "media": f"{number:04}" + "A" * 900_000}


@pytest.mark.parametrize("told", [at_addresses, in_base64])
async def test_media_that_wait_are_counted_and_what_is_too_much_is_refused_at_once(
    database_url: str, evolution, llm, n8n, films: Films, told
):
    more = {"MAX_MEDIA_BYTES": str(MOST), "MAX_WEBHOOK_BYTES": "20000000"}
    async with playing(database_url, evolution, llm, n8n, **more) as stage:
        await stage.maria.writes("tem filme?")
        flow = await given(stage, n8n)
        sends = [
            asyncio.create_task(
                flow.calls("message/sendMedia", told(films, number) | {"delay": LONG})
            )
            for number in range(4)
        ]
        waiting: set[asyncio.Task[Any]] = set(sends)
        refused: list[tuple[int, str]] = []
        while len(refused) < 2:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            refused += [
                (each.result().status_code, each.result().json()["response"]["reason"])
                for each in done
            ]
        assert set(refused) == {(503, "busy")}
        assert (await flow.reports("handoff", reason="quer um humano")).status_code == 200
        answers = {each.result().status_code for each in (await asyncio.wait(waiting))[0]}
        assert 409 in answers  # it was waiting still when the turn was closed
        assert answers <= {409, 503}
        assert not stage.shop.calls("sendMedia")
