"""Ends a program that the router has started."""

import asyncio
from contextlib import suppress

_STEP = 65_536


async def end_program(program: asyncio.subprocess.Process) -> None:
    """Kill the program, and return when it has ended. Unread output is dropped."""
    with suppress(ProcessLookupError):
        program.kill()
    # asyncio also waits for the pipe's end, which it never sees while reading is paused.
    while program.stdout is not None and await program.stdout.read(_STEP):
        pass
    await program.wait()
