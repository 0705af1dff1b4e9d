"""How a program beside the router is ended for good."""

import asyncio
from contextlib import suppress

_STEP = 65_536


async def end_program(program: asyncio.subprocess.Process) -> None:
    """Kill it, and return when it has ended. Its unread output is dropped."""
    with suppress(ProcessLookupError):
        program.kill()
    # asyncio waits for the pipe's end as well, and sees none of a pipe whose reading is paused.
    while program.stdout is not None and await program.stdout.read(_STEP):
        pass
    await program.wait()
