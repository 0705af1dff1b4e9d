"""What is sent is what httpx has made of it, byte for byte, and only to an address that may be."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from router.configuration.addresses import Allowed
from router.outbound.client import AddressWrong
from router.outbound.refused import AddressRefused
from tests.exchanges import OK, Line, client, friendly, resolving, server
from tests.for_each import for_each

NOTHING = Allowed()
ALWAYS = {
    "accept: */*",
    "accept-encoding: gzip",
    "connection: keep-alive",
    f"user-agent: python-httpx/{httpx.__version__}",
}


async def pieces() -> AsyncIterator[bytes]:
    for piece in (b"one ", b"two"):
        yield piece
        await asyncio.sleep(0)


def read(request: bytes) -> tuple[str, list[str], bytes]:
    """Return a request's first line, its headers in no order, and its body."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *headers = head.decode("ascii").split("\r\n")
    named = [header.partition(": ") for header in headers]
    return line, sorted(f"{name.lower()}: {value}" for name, _, value in named), body


SENT: dict[str, tuple[str, str, dict[str, Any], str, set[str], bytes]] = {
    "a JSON POST": (
        *("POST", "http://127.0.0.1:PORT/message/sendText/shop"),
        {"json": {"text": "Olá", "a": [1]}, "headers": {"apikey": "KEY"}},
        "POST /message/sendText/shop HTTP/1.1",
        {
            *("host: 127.0.0.1:PORT", "apikey: KEY"),
            *("content-type: application/json", "content-length: 23"),
        },
        '{"text":"Olá","a":[1]}'.encode(),
    ),
    "a POST of nothing": (
        *("POST", "http://127.0.0.1:PORT", {}, "POST / HTTP/1.1"),
        *({"host: 127.0.0.1:PORT", "content-length: 0"}, b""),
    ),
    "a stream of a length": (
        *("POST", "http://127.0.0.1:PORT/x"),
        {"content": pieces, "headers": {"Content-Length": "7", "Content-Type": "audio/ogg"}},
        "POST /x HTTP/1.1",
        {"host: 127.0.0.1:PORT", "content-length: 7", "content-type: audio/ogg"},
        b"one two",
    ),
    "a stream of no length": (
        *("POST", "http://127.0.0.1:PORT/x", {"content": pieces}, "POST /x HTTP/1.1"),
        {"host: 127.0.0.1:PORT", "transfer-encoding: chunked"},
        b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n",
    ),
    "a form": (
        *("PUT", "http://127.0.0.1:PORT/x", {"data": {"a": "é b"}}, "PUT /x HTTP/1.1"),
        {
            *("host: 127.0.0.1:PORT", "content-length: 10"),
            "content-type: application/x-www-form-urlencoded",
        },
        b"a=%C3%A9+b",
    ),
    "a DELETE": (
        *("DELETE", "http://127.0.0.1:PORT/x", {}, "DELETE /x HTTP/1.1"),
        *({"host: 127.0.0.1:PORT", "content-length: 0"}, b""),
    ),
    "an address of IPv6": (
        *("GET", "http://[::1]:PORT/", {}, "GET / HTTP/1.1", {"host: [::1]:PORT"}, b""),
    ),
    "a name in capitals with a dot": (
        *("GET", "http://SHOP.Example.:PORT/X", {}, "GET /X HTTP/1.1"),
        *({"host: shop.example.:PORT"}, b""),
    ),
    "a name that is not ASCII": (
        *("GET", "http://padária.example:PORT/", {}, "GET / HTTP/1.1"),
        *({"host: xn--padria-rta.example:PORT"}, b""),
    ),
    "a user in the URL": (
        *("GET", "http://ana:s%40cret@shop.example:PORT/", {}, "GET / HTTP/1.1"),
        *({"host: shop.example:PORT", "authorization: Basic YW5hOnNAY3JldA=="}, b""),
    ),
    "headers of the caller's": (
        *("GET", "http://127.0.0.1:PORT/"),
        {"headers": {"Host": "other.example", "User-Agent": "x", "Accept": "y", "Empty": ""}},
        "GET / HTTP/1.1",
        {"host: other.example", "user-agent: x", "accept: y", "empty: "},
        b"",
    ),
}
TARGETS = {
    "/a%2Fb/%40x?q=a%20b+c&k=%C3%A9": "/a%2Fb/%40x?q=a%20b+c&k=%C3%A9",
    "/a b/é/@x?k=é": "/a%20b/%C3%A9/@x?k=%C3%A9",
    "/a/../b/./c//d;e=1,2!'()*~#part": "/b/c//d;e=1,2!'()*~",
    '?a=[1]&b={}|^"<>%zz%2': "/?a=[1]&b={}|^%22%3C%3E%zz%2",
    "/%7euser/%2e%2E/x%c3%a9": "/%7euser/%2e%2E/x%c3%a9",
    "/a+b:80/*?a=1&a=2&&=;c": "/a+b:80/*?a=1&a=2&&=;c",
}


@for_each("what", SENT)
async def test_what_is_sent_is_known_to_the_byte(what: str):
    method, url, given, line, headers, body = SENT[what]
    host = "::1" if "[::1]" in url else "127.0.0.1"
    if (content := given.get("content")) is not None:
        given = {**given, "content": content()}
    async with server(friendly, host=host) as there, client(resolve=resolving(host)) as http:
        port = str(there.port)
        await http.request(method, url.replace("PORT", port), **given)
    (request,) = there.requests
    said, named, sent = read(request)
    assert (said, sent) == (line, body)
    own = {header.partition(":")[0] for header in headers}
    always = {header for header in ALWAYS if header.partition(":")[0] not in own}
    assert named == sorted(header.replace("PORT", port) for header in headers | always)


async def test_a_path_and_a_query_are_sent_as_they_are():
    async with server(friendly) as there, client() as http:
        for path in TARGETS:
            await http.get(f"http://127.0.0.1:{there.port}{path}")
    asked = [read(request)[0] for request in there.requests]
    assert asked == [f"GET {target} HTTP/1.1" for target in TARGETS.values()]


async def test_a_cookie_is_sent_back_once_at_most():
    async def talk(line: Line) -> None:
        await line.hear()
        await line.say(OK + b"Set-Cookie: a=1\r\nContent-Length: 0\r\n\r\n")
        await friendly(line)

    async with server(talk) as there, client() as http:
        for _ in range(2):
            await http.get(there.url)
    cookies = [each for each in read(there.requests[1])[1] if each.startswith("cookie")]
    assert cookies in ([], ["cookie: a=1"])


UNSAYABLE: dict[str, dict[str, Any]] = {
    "a line in a header": {"headers": {"X-Name": "a\r\nX-Evil: b"}},
    "a line feed in a header": {"headers": {"X-Name": "a\nX-Evil: b"}},
    "a null in a header": {"headers": {"X-Name": "a\0b"}},
    "a header with a blank in its name": {"headers": {"X Name": "a"}},
    "a header without a name": {"headers": {"": "a"}},
    "a line in the method": {"method": "GET / HTTP/1.1\r\nX-Evil: b\r\n\r\nGET"},
}


@for_each("what", UNSAYABLE)
async def test_what_cannot_be_said_is_not_sent(what: str):
    async with server(friendly) as there, client() as http:
        with pytest.raises((httpx.LocalProtocolError, AddressWrong)):
            await http.request(**{"method": "GET", "url": there.url, **UNSAYABLE[what]})
        assert there.asked == 0
        assert (await http.get(there.url)).status_code == 200


@pytest.mark.parametrize("length", ["3", "4", "9"])
async def test_who_gives_another_length_than_the_content_has_hears_of_it(length: str):
    async with server(friendly) as there, client() as http:
        headers = {"Content-Length": length}
        with pytest.raises(httpx.TransportError):
            await http.post(there.url, content=pieces(), headers=headers, timeout=0.3)
        assert (await http.get(there.url)).text == "1"
    assert [read(request)[0] for request in there.requests] == ["GET / HTTP/1.1"]


async def test_content_that_breaks_is_the_callers_error_and_its_connection_is_used_no_more():
    async def breaks() -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError("the file is gone")

    async with server(friendly) as there, client() as http:
        with pytest.raises(RuntimeError, match="the file is gone"):
            await http.post(there.url, content=breaks(), headers={"Content-Length": "9"})
        assert (await http.get(there.url)).text == "1"
    assert [read(request)[0] for request in there.requests] == ["GET / HTTP/1.1"]


INSIDE = (
    *("10.0.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "192.168.1.1"),
    *("::1", "::", "fd00::1", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
)


@for_each("address", INSIDE)
@for_each("scheme", ["http", "https"])
async def test_a_name_that_leads_inside_is_refused(address: str, scheme: str):
    async with client(allowed=NOTHING, resolve=resolving(address)) as http:
        with pytest.raises(AddressRefused) as refused:
            await http.post(f"{scheme}://shop.example/", json={})
    assert address not in str(refused.value)


LITERALS = (
    *("127.0.0.1", "127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "0"),
    *("localhost", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[fe80::1%25eth0]"),
)


@for_each("host", LITERALS)
async def test_an_address_inside_is_refused_however_it_is_written(host: str):
    async with server(friendly) as there, client(allowed=NOTHING) as http:
        with pytest.raises((httpx.ConnectError, AddressWrong)):
            await http.post(f"http://{host}:{there.port}/", json={})
    assert not there.lines


@pytest.mark.parametrize(
    ("allowed", "addresses"),
    [
        (Allowed.of(["127.0.0.0/8"]), ("127.0.0.2", "127.0.0.1")),
        (Allowed.of(["127.0.0.1"]), ("127.0.0.2", "169.254.169.254", "127.0.0.1")),
        (Allowed.of(["shop.example"]), ("127.0.0.1",)),
    ],
    ids=["where the first refuses", "of those that may be", "as the deployment vouches for it"],
)
async def test_the_first_address_that_can_be_connected_to_is(
    allowed: Allowed, addresses: tuple[str, ...]
):
    asked: list[tuple[str, int]] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return list(addresses)

    async with server(friendly) as there, client(allowed=allowed, resolve=resolve) as http:
        for _ in range(2):
            answer = await http.post(f"http://shop.example:{there.port}/", json={})
            assert answer.text == "0"
    assert asked == [("shop.example", there.port)]
