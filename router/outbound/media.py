"""Fetches the media of a send from the URL that a flow gave, before anything is sent.

Evolution would fetch it itself: from any address that it can reach, of any size, without a time
limit, and between the fence and the phone. Here the address is checked like every address from
outside, size and time are limited, and Evolution gets the bytes.
"""

import asyncio
import re
from collections.abc import Callable
from time import monotonic
from urllib.parse import unquote, urlsplit

import httpx

from router.outbound.bounds import AnswerTooLong
from router.outbound.client import for_tenant
from router.outbound.refused import AddressRefused
from router.sharing.at_once import InTurn, TooManyAtOnce
from router.whatsapp.clean import clean

SECONDS = 15.0
"""The time limit for the last byte."""
_AT_ONCE = 6  # for one tenant; see _SECONDS_A_MEDIA in pools.py
_OF_A_SERVER = 4  # of them from one server, so that a server that hangs does not take them all
_WAIT = 4 * SECONDS  # to wait for one of these places
_TRANSIENT = frozenset({408, 425, 429})
_ADDRESS = re.compile(r"\s*https?://", re.IGNORECASE)
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}$")


class NoMedia(Exception):
    """The media cannot be fetched; `is_away`: it may be possible later."""

    def __init__(self, message: str, *, is_away: bool = False) -> None:
        super().__init__(message)
        self.is_away = is_away


class MediaSource:
    """Fetches media of at most `most` bytes, with a client for tenants' URLs."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        most: int,
        *,
        seconds: float = SECONDS,
        wait: float = _WAIT,
    ) -> None:
        self._http = http
        self._most = most
        self._seconds = seconds
        self._wait = wait
        self._at_once = InTurn(_AT_ONCE)
        self._of_a_server = InTurn(_OF_A_SERVER)

    async def fetch(
        self, url: str, tenant_id: int, count: Callable[[int], None] = lambda _: None
    ) -> bytes:
        """Return the content at the URL. Raises NoMedia.

        `count` is called with numbers of bytes, as they are announced or arrive, and may raise to
        stop the fetch.
        """
        server = _server_of(url)
        until = monotonic() + self._wait
        try:
            async with (
                self._of_a_server.taken((tenant_id, server), self._wait),
                self._at_once.taken(tenant_id, max(0.0, until - monotonic())),
                asyncio.timeout(self._seconds),
            ):
                return await self._read(url, tenant_id, count)
        except TooManyAtOnce as error:
            raise NoMedia("too many media are being fetched at once", is_away=True) from error
        except TimeoutError as error:
            raise NoMedia(
                f"it was not received within {self._seconds:g} seconds", is_away=True
            ) from error
        except AddressRefused as error:
            raise NoMedia(str(error)) from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError) as error:
            raise NoMedia("it is not a URL") from error
        except AnswerTooLong as error:
            raise self._too_long() from error
        except httpx.HTTPError as error:
            raise NoMedia(f"it cannot be fetched: {type(error).__name__}", is_away=True) from error

    async def _read(self, url: str, tenant_id: int, count: Callable[[int], None]) -> bytes:
        # Unpacked only: the size of a packed file is not known in advance.
        headers = {"Accept-Encoding": "identity"}
        bounds = {"longest": self._most, **for_tenant(tenant_id)}
        async with self._http.stream("GET", url, headers=headers, extensions=bounds) as answer:
            _judge(answer)
            if (counted := _declared(answer)) > self._most:
                raise self._too_long()
            count(counted)  # in one step: if there is room for only one of two fetches, one gets it
            content = bytearray()
            async for chunk in answer.aiter_raw():
                if len(content) + len(chunk) > self._most:
                    raise self._too_long()
                if (more := len(content) + len(chunk) - counted) > 0:
                    count(more)
                    counted += more
                content += chunk
        if not content:
            raise NoMedia("there is nothing in it")
        return bytes(content)

    def _too_long(self) -> NoMedia:
        return NoMedia(f"it has more than {self._most} bytes")


def is_address(media: str) -> bool:
    """Whether media is given by its URL, not in base64."""
    return _ADDRESS.match(media) is not None


def name_in(url: str) -> str | None:
    """Return the file name at the end of a URL, or None if it has no extension."""
    path = url.partition("?")[0].partition("#")[0].partition("://")[2]
    if "/" not in path:
        return None
    name = clean(unquote(path.rpartition("/")[2], errors="replace"))
    return name[-200:] if _EXTENSION.search(name) else None


def _server_of(url: str) -> str:
    """Return the host of a URL. Raises NoMedia."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise NoMedia("it is not a URL: check host and port") from error
    if not host:
        raise NoMedia("it is not a URL: it names no host")
    if "@" in parts.netloc:
        raise NoMedia("a URL must not carry a user name or password")
    return host.lower()


def _declared(answer: httpx.Response) -> int:
    length = answer.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 16 else 0


def _judge(answer: httpx.Response) -> None:
    """Raises NoMedia."""
    status = answer.status_code
    if 300 <= status < 400:
        raise NoMedia(f"its URL answered {status}: give the one that it leads to")
    if status != 200:
        raise NoMedia(f"its URL answered {status}", is_away=status >= 500 or status in _TRANSIENT)
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise NoMedia("its URL answered in an encoding that was not asked for")
