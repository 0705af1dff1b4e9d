"""Reads the JSON that others answer with, and no more of it than can do harm.

A few bytes of `[[],[],…` become a hundred times as many in memory, and reading them stops the
process: what is going to be read is counted first.
"""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson

from router.whatsapp.depth import too_deep
from router.whatsapp.elements import may_be_deep

T = TypeVar("T")

MOST_VALUES = 300_000
_LARGE = 64 * 1024  # bytes; what weighs more is read beside the event loop
# One thread: parsing holds the interpreter, and two in turn would hold it for twice as long.
_LARGE_ANSWERS = ThreadPoolExecutor(1, "large answers")
_DEEPEST = 100
OF_A_VALUE = 60
"""Bytes of memory that a value takes beside its own."""


class TooManyValues(ValueError):
    """It has more values than are read; fewer at a time may be."""


def count_values(body: bytes) -> int:
    """Return how many values a JSON text has at most."""
    return body.count(b",") + body.count(b"[") + body.count(b"{") + 1


def weigh(body: bytes) -> int:
    """Return roughly how many bytes of memory a JSON text takes when it is read."""
    return len(body) + OF_A_VALUE * count_values(body)


def read_json(body: bytes, deepest: int = _DEEPEST, most: int = MOST_VALUES) -> Any:
    """Return what a JSON text says. Raises ValueError where it is none, or is monstrous.

    `deepest` is how many objects and lists may stand inside each other, `most` how many values
    there may be: beyond that it is TooManyValues.
    """
    if (values := count_values(body)) > most:
        raise TooManyValues(f"it has {values} values, more than {most}")
    try:
        found = _parsed(body)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if may_be_deep(body, deepest) and too_deep(found, deepest):
        raise ValueError("it is nested too deep")
    return found


def beginning(body: bytes, most: int) -> str:
    """Return how a text begins, read as UTF-8 whatever it says of itself.

    It may name an encoding that takes the square of its length to be read, such as punycode.
    """
    return body[: 4 * most].decode(errors="replace")[:most]


async def read_beside_the_loop(body: bytes, work: Callable[[], T]) -> T:
    """Return what `work` reads in a JSON text; in a thread where it is long or has many values."""
    size = len(body)
    return await beside_the_loop(size if size > _LARGE else weigh(body), work)


async def beside_the_loop(size: int, work: Callable[[], T]) -> T:
    """Return what `work` makes of so many bytes; of many in a thread, one after the other."""
    if size <= _LARGE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_LARGE_ANSWERS, work)


def _parsed(body: bytes) -> Any:
    """Parse a text, a large one as fast as can be: nothing else of the process runs meanwhile."""
    if len(body) > _LARGE:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass  # such as a half of a surrogate pair, which the other one takes
    return json.loads(body)
