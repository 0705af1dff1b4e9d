"""Reads the JSON of others' responses, but never so much that it could do harm.

A few bytes of `[[],[],…` become a hundred times as many in memory, and parsing them blocks the
process. So the values are counted before a text is parsed.
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
# One thread: parsing holds the interpreter, and two in parallel would hold it for twice as long.
_LARGE_ANSWERS = ThreadPoolExecutor(1, "large answers")
_DEEPEST = 100
OF_A_VALUE = 60
"""Extra bytes of memory that each value takes."""


class TooManyValues(ValueError):
    """It has more values than are read; fewer at a time may work."""


def count_values(body: bytes) -> int:
    """Return the most values that a JSON text can have."""
    return body.count(b",") + body.count(b"[") + body.count(b"{") + 1


def weigh(body: bytes) -> int:
    """Return roughly how many bytes of memory a JSON text takes once parsed."""
    return len(body) + OF_A_VALUE * count_values(body)


def read_json(body: bytes, deepest: int = _DEEPEST, most: int = MOST_VALUES) -> Any:
    """Return the content of a JSON text. Raises ValueError if it is not JSON, or is huge.

    `deepest` limits how many objects and lists may be nested, `most` how many values there may be;
    more raises TooManyValues.
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
    """Return the beginning of a text, read as UTF-8 whatever encoding it declares.

    It may declare an encoding whose cost grows with the square of its length, such as punycode.
    """
    return body[: 4 * most].decode(errors="replace")[:most]


async def read_beside_the_loop(body: bytes, work: Callable[[], T]) -> T:
    """Return `work` of a JSON text; in a thread if it is long or has many values."""
    size = len(body)
    return await beside_the_loop(size if size > _LARGE else weigh(body), work)


async def beside_the_loop(size: int, work: Callable[[], T]) -> T:
    """Return `work` of so many bytes; of many in a thread, one text after the other."""
    if size <= _LARGE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_LARGE_ANSWERS, work)


def _parsed(body: bytes) -> Any:
    """Parse a text, a large one as fast as possible: nothing else in the process runs meanwhile."""
    if len(body) > _LARGE:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass  # such as half of a surrogate pair, which the other parser accepts
    return json.loads(body)
