"""Has a stranger's file opened by a separate program (`decoder`), which has limits.

Two are opened at once, and no tenant has both places: one that sends many files waits for itself.
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
_AT_ONCE = 2  # processors are few, and files are many
_ONE = 1.0  # times what is free: one of the two
_SECONDS = 45.0  # of the clock; of the processor it has fewer
_WAIT = 60.0  # for a place
_LONGEST_ANSWER = 8_000_000  # bytes
_STEP = 65_536


@dataclass(frozen=True, slots=True)
class Opened:
    """What is in a file: pictures as JPEGs in base64, text, sound as Ogg/Opus, all made anew.

    `what` says what the file is; of a document with text, `pages_seen` are those among the pages
    that were read which have none, and are pictures; `pages_unread` could not be had.
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
"""`voice`: is it a sound at all? Of what is sent, nothing is made."""


class Decoder:
    """Opens files, a few at once."""

    def __init__(self, seconds: float = _SECONDS, wait: float = _WAIT) -> None:
        self._places = Shares(_AT_ONCE)
        self._seconds = seconds
        self._wait = wait

    async def open(self, content: bytes, way: As = "file", *, tenant: int) -> Opened:
        """Return what is in the tenant's file, opened as that. Raises NotUnderstood and NoRoom."""
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
                env={},  # no key of ours is where a stranger's file is opened
            )
        except OSError as error:  # there is no memory for one more process, or no file
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
            # Not for what the file is: one that takes much is ended by the processor's limit.
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
    with suppress(ConnectionError):  # it ended before it had read all
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
