"""Transcribes sound on this machine, with a program beside the router (`local_listener`)."""

import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from router.senses.ending import end_program
from router.senses.hearing import Heard, NeedAway, NoRoom, NotUnderstood, Sound
from router.senses.hearsay import without_hearsay
from router.sharing.one_by_one import OneByOne

_PROGRAM = Path(__file__).with_name("local_listener.py")
_IT = "the listener on this machine"
_WAIT = 10.0  # seconds to wait for another sound; after that the job is given back
_LOADING = 600.0  # seconds; the first time, the model is downloaded
_LONGEST_LINE = 1_000_000
# Variables for the folder of its models and for downloading them; no key of ours.
_KEPT = (
    *("PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "OMP_NUM_THREADS"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT"),
    *("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the program needs from the environment."""
    return {name: environment[name] for name in _KEPT if name in environment}


class LocalEngine:
    """A Listener without an outside service. `timeout` in seconds is for one sound.

    It transcribes one sound at a time, and tenants take turns.
    """

    def __init__(self, model: str, timeout: float, environment: Mapping[str, str]) -> None:
        self._model = model
        self._timeout = timeout
        self._environment = environment
        self._place = OneByOne()
        self._program: asyncio.subprocess.Process | None = None
        self._is_ready = False

    async def load(self) -> None:
        """Begin to load the model; only the first sound waits for it."""
        async with self._place.taken(None):
            await self._started()

    async def hear(self, sound: Sound, language: str | None, tenant: int) -> Heard:
        """See Listener."""
        is_busy = True
        try:
            async with self._place.taken(tenant, _WAIT):
                is_busy = False
                return await self._alone(sound, language)
        except TimeoutError as error:
            if not is_busy:
                raise
            raise NoRoom(f"{_IT} is busy") from error

    async def _alone(self, sound: Sound, language: str | None) -> Heard:
        try:
            return await self._listen(sound, language)
        except BaseException:  # a late answer would be taken for that of the next sound
            await self._end()
            raise

    async def close(self) -> None:
        """See Listener."""
        await self._end()

    async def _listen(self, sound: Sound, language: str | None) -> Heard:
        program = await self._ready()
        assert program.stdin is not None  # noqa: S101 - it is a pipe
        question = orjson.dumps({"bytes": len(sound.content), "language": language})
        try:
            async with asyncio.timeout(self._timeout):
                with suppress(ConnectionError):  # the program has ended; there will be no answer
                    program.stdin.write(question + b"\n" + sound.content)
                    await program.stdin.drain()
                answer = await _line_of(program)
        except TimeoutError as error:  # says something about this sound only: it may be long
            raise NotUnderstood(f"{_IT} took too long (STT_TIMEOUT)", final=False) from error
        match answer:
            case {"text": str() as words}:
                return Heard(without_hearsay(words))
            case {"failed": str() as said}:
                raise NotUnderstood(f"{_IT}: {said}", final=False)
            case _:
                raise NotUnderstood(f"{_IT} broke off", final=False)

    async def _ready(self) -> asyncio.subprocess.Process:
        """Return the program when it is ready. Its output before that is not about a sound."""
        program = await self._started()
        if self._is_ready:
            return program
        try:
            async with asyncio.timeout(_LOADING):
                answer = await _line_of(program)
        except TimeoutError as error:
            raise NeedAway(f"{_IT} took too long to load its model", "speech") from error
        match answer:
            case {"ready": True}:
                self._is_ready = True
                return program
            case {"unable": str() as said}:
                raise NeedAway(f"{_IT} cannot listen: {said}", "speech")
            case _:
                raise NeedAway(f"{_IT} broke off while it loaded its model", "speech")

    async def _started(self) -> asyncio.subprocess.Process:
        if self._program is not None and self._program.returncode is None:
            return self._program
        self._is_ready = False
        try:
            self._program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", str(_PROGRAM), self._model),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=self._environment,
                limit=_LONGEST_LINE,
            )
        except OSError as error:
            raise NeedAway(f"{_IT} could not be started", "speech") from error
        return self._program

    async def _end(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            await end_program(program)


async def _line_of(program: asyncio.subprocess.Process) -> Any:
    """Return the program's next line of JSON; None if there is no more, or it is not JSON."""
    assert program.stdout is not None  # noqa: S101 - it is a pipe
    try:
        return orjson.loads(await program.stdout.readline())
    except ValueError:  # also for a line that is too long
        return None
