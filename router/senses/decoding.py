"""Has an untrusted file opened by a separate program (`decoder`), which runs with limits.

Two files are opened at once, and no tenant has both places, so a tenant with many files only makes
itself wait.
"""

import asyncio
import base64
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import orjson

from router.senses.ending import end_program
from router.senses.hearing import NoRoom, NotUnderstood
from router.sharing.shares import Claims, Shares

_PROGRAM = Path(__file__).with_name("decoder.py")
_AT_ONCE = 2  # because processors are few
_ONE = 1.0  # times the free places: one of the two
_SECONDS = 45.0  # of wall time; the limit of CPU time is lower
_WAIT = 60.0  # seconds to wait for a place
_LONGEST_ANSWER = 8_000_000  # bytes
_STEP = 65_536


@dataclass(frozen=True, slots=True)
class Opened:
    """A file's content: pictures as JPEGs in base64, text, sound as Ogg/Opus, all newly encoded.

    `what` says what the file is. In a document with text, `pages_seen` are the read pages without
    text, which became pictures; `pages_unread` could not be read.
    """

    what: str
    pictures: tuple[str, ...] = field(default=(), repr=False)
    text: str | None = field(default=None, repr=False)
    pages: int | None = None
    pages_read: int | None = None
    pages_seen: tuple[int, ...] = ()
    pages_unread: tuple[int, ...] = ()
    is_locked: bool = False
    is_cut: bool = False
    sound: bytes | None = field(default=None, repr=False)
    seconds: float = 0.0
    is_silent: bool = False


As: TypeAlias = Literal["file", "sound", "video", "voice"]
"""How a file is opened. `voice` only checks that it is audio, and returns no content."""


class Decoder:
    """Opens files, a few at once."""

    def __init__(self, seconds: float = _SECONDS, wait: float = _WAIT) -> None:
        self._places = Shares(_AT_ONCE)
        self._seconds = seconds
        self._wait = wait

    async def open(self, content: bytes, way: As = "file", *, tenant: int) -> Opened:
        """Return the content of the tenant's file, opened in this way.

        Raises NotUnderstood and NoRoom.
        """
        claims: Claims = {tenant: _ONE}
        try:
            place = await self._places.take(claims, self._wait)
        except TimeoutError as error:
            raise NoRoom("too many files are being opened") from error
        try:
            answer = await self._ask(content, way)
        finally:
            place.give_back()
        return _read(answer)

    async def _ask(self, content: bytes, way: As) -> bytes:
        try:
            program = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                str(_PROGRAM),
                way,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={},  # an untrusted file is opened without any key of ours
            )
        except OSError as error:  # no memory for another process, or no file descriptor
            raise NotUnderstood("the program could not be started", final=False) from error
        try:
            async with asyncio.timeout(self._seconds):
                giving = asyncio.create_task(_give(program, content))
                try:
                    answer = await _all_of(program)
                finally:
                    giving.cancel()
                    with suppress(asyncio.CancelledError):
                        await giving
                await program.wait()
        except TimeoutError as error:
            # Not the file's fault: a costly file would reach the limit of CPU time first.
            raise NotUnderstood("it took too long to be opened", final=False) from error
        finally:
            await end_program(program)
        if program.returncode == -signal.SIGXCPU:
            raise NotUnderstood("it takes too much of the processor to be opened", final=True)
        if not answer:
            raise NotUnderstood("it broke the program that opened it", final=True)
        return answer


async def _give(program: asyncio.subprocess.Process, content: bytes) -> None:
    assert program.stdin is not None  # noqa: S101 - it is a pipe
    with suppress(ConnectionError):  # the program ended before it had read everything
        program.stdin.write(content)
        await program.stdin.drain()
        program.stdin.close()


async def _all_of(program: asyncio.subprocess.Process) -> bytes:
    assert program.stdout is not None  # noqa: S101 - it is a pipe
    answer = bytearray()
    while part := await program.stdout.read(_STEP):
        answer += part
        if len(answer) > _LONGEST_ANSWER:
            raise NotUnderstood("what is in it is too large", final=True)
    return bytes(answer)


def _read(answer: bytes) -> Opened:
    try:
        told: dict[str, Any] = orjson.loads(answer)
        if "refused" in told:
            raise NotUnderstood(str(told["refused"])[:200], final=True)
        return Opened(
            what=str(told["what"]),
            pictures=tuple(map(str, told.get("pictures", ()))),
            text=told.get("text"),
            pages=told.get("pages"),
            pages_read=told.get("pages_read"),
            pages_seen=tuple(map(int, told.get("pages_seen", ()))),
            pages_unread=tuple(map(int, told.get("pages_unread", ()))),
            is_locked=bool(told.get("is_locked")),
            is_cut=bool(told.get("is_cut")),
            sound=base64.b64decode(told["sound"]) if "sound" in told else None,
            seconds=float(told.get("seconds", 0)),
            is_silent=bool(told.get("is_silent")),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NotUnderstood("it broke the program that opened it", final=True) from error
