"""Waiting for gap repairs that run in the background."""

import asyncio

from router.intake.gap_repairs import GapRepairs


async def all_repaired(repairs: GapRepairs) -> None:
    """Wait until no repair is running, or waits to be tried again."""
    while repairs._queue or repairs._running:
        if repairs._running:
            await asyncio.wait(repairs._running, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(0.005)
