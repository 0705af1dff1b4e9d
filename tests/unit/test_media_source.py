"""A media is fetched within bounds, or it is none."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from router.configuration.addresses import Allowed
from router.outbound.bounds import LONGEST_ANSWER
from router.outbound.checked import CheckedTransport
from router.outbound.client import client_over
from router.outbound.media import MediaSource, NoMedia, name_in
from tests.scenarios.hostile import saying, server

URL = "https://padaria.example/docs/lista%20nova.v2.pdf?token=secret"


def source(answer: Callable[[httpx.Request], Any], **more: Any) -> MediaSource:
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return MediaSource(http, 100, **more)


class Slow(httpx.AsyncByteStream):
    """A byte now and then, for ever."""

    def __init__(self, goes_on: asyncio.Event) -> None:
        self.goes_on = goes_on

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b"."
            await self.goes_on.wait()


async def test_what_stands_at_the_address_comes_as_it_is() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(b"x" * 100))

    assert await source(answer).fetch(URL, 1) == b"x" * 100
    assert name_in(URL) == "lista nova.v2.pdf"
    assert asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("answer", "is_away"),
    [
        (httpx.Response(200, stream=httpx.ByteStream(b"x" * 101)), False),
        (httpx.Response(200, stream=httpx.ByteStream(b"")), False),
        (httpx.Response(404), False),
        (httpx.Response(206, content=b"x"), False),
        (httpx.Response(302, headers={"Location": "http://169.254.169.254/"}), False),
        (httpx.Response(503), True),
        (httpx.Response(429), True),
        (httpx.ConnectError("no"), True),
        (httpx.ReadTimeout("no"), True),
    ],
)
async def test_what_is_no_media_is_told_from_what_may_be_one_later(
    answer: httpx.Response | Exception, is_away: bool
) -> None:
    def give(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(NoMedia) as none:
        await source(give).fetch(URL, 1)
    assert none.value.is_away is is_away
    assert "secret" not in str(none.value)


async def test_a_server_that_trickles_is_given_up() -> None:
    never = asyncio.Event()
    with pytest.raises(NoMedia) as none:
        await source(lambda _: httpx.Response(200, stream=Slow(never)), seconds=0.05).fetch(URL, 1)
    assert none.value.is_away


async def test_what_opens_to_more_than_it_is_is_not_opened() -> None:
    bomb = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Slow(asyncio.Event()))
    with pytest.raises(NoMedia) as none:
        await source(lambda _: bomb).fetch(URL, 1)
    assert not none.value.is_away


async def test_one_tenants_slow_servers_leave_room_for_others() -> None:
    goes_on = asyncio.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        await goes_on.wait()
        return httpx.Response(200, stream=httpx.ByteStream(b"x"))

    media = source(answer)
    held = [asyncio.create_task(media.fetch(URL, 1)) for _ in range(4)]
    await asyncio.sleep(0)
    fifth = asyncio.create_task(media.fetch(URL, 1))
    other = asyncio.create_task(media.fetch(URL, 2))
    goes_on.set()
    assert await other == b"x"
    assert [await each for each in (*held, fifth)] == [b"x"] * 5


async def test_a_server_that_hangs_leaves_room_for_the_same_tenants_others() -> None:
    never = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "hangs.example":
            await never.wait()
        return httpx.Response(200, stream=httpx.ByteStream(b"x"))

    media = source(answer)
    hanging = [asyncio.create_task(media.fetch("https://Hangs.example/a.png", 1)) for _ in range(9)]
    await asyncio.sleep(0)
    assert await media.fetch(URL, 1) == b"x"
    for each in hanging:
        each.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_a_media_that_gets_no_place_may_be_one_later() -> None:
    goes_on = asyncio.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        await goes_on.wait()
        return httpx.Response(200, stream=httpx.ByteStream(b"x"))

    media = source(answer, wait=0)
    held = [asyncio.create_task(media.fetch(URL, 1)) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(NoMedia) as none:
        await media.fetch(URL, 1)
    assert none.value.is_away
    goes_on.set()
    assert [await each for each in held] == [b"x"] * 4


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.timeout(60)
async def test_a_media_may_be_as_long_as_one_may_be_and_longer_ones_are_none(said: bool) -> None:
    """Over the real way out, whose own bound is far below."""
    most = LONGEST_ANSWER + 500_000
    content = b"x" * most

    def head(length: int) -> bytes:
        return b"Content-Length: %d" % length if said else b"X-Length: none"

    async with client_over(CheckedTransport(Allowed.of(["127.0.0.0/8"])), 30) as http:
        media = MediaSource(http, most)
        async with server(saying(head(most), content, b"200 OK")) as url:
            assert await media.fetch(f"{url}/a.pdf", 1) == content
        async with server(saying(head(most + 1), content + b"x", b"200 OK")) as url:
            with pytest.raises(NoMedia) as none:
                await media.fetch(f"{url}/a.pdf", 1)
    assert not none.value.is_away


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "http://10.0.0.7/a.png",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/a.png",
        "http://2130706433/a.png",
        "http://[::ffff:10.0.0.1]/a.png",
        "http://somebody:password@padaria.example/a.png",
        "http:///a.png",
        "http://padaria.example:99999999/a.png",
        "http://\ud800.example/a.png",
    ],
)
async def test_an_address_inside_is_no_media(url: str) -> None:
    http = client_over(CheckedTransport(Allowed()), 1)
    with pytest.raises(NoMedia) as none:
        await MediaSource(http, 100).fetch(url, 1)
    assert not none.value.is_away
    await http.aclose()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a.example/docs/x.pdf", "x.pdf"),
        ("https://a.example/docs/x", None),
        ("https://a.example", None),
        ("https://a.example/x.pdf/", None),
        ("https://a.example/?f=x.pdf", None),
        ("https://a.example/%FF.pdf#x", "\ufffd.pdf"),
        ("https://a.example/a%00b.pdf", "ab.pdf"),
        ("http://[nonsense/x.pdf", "x.pdf"),
    ],
)
def test_a_file_is_named_by_its_address_where_that_has_an_ending(
    url: str, name: str | None
) -> None:
    assert name_in(url) == name
