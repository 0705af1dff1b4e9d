"""Reads the JSON in responses of other servers, within limits that protect this process.

A few bytes of `[[],[],…` take a hundred times as many bytes in memory, and parsing them blocks the
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
_LARGE = 64 * 1024  # bytes; a text that weighs more is parsed in a thread
# One thread only: parsing holds the interpreter, and two threads would hold it for twice as long.
_LARGE_ANSWERS = ThreadPoolExecutor(1, "large answers")
_DEEPEST = 100
OF_A_VALUE = 60
"""Extra bytes of memory that each value takes."""


class TooManyValues(ValueError):
    """The text has too many values; the caller may ask for fewer at a time."""


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
    """Return the beginning of a text, decoded as UTF-8 whatever encoding it declares.

    It may declare an encoding that takes quadratic time, such as punycode.
    """
    return body[: 4 * most].decode(errors="replace")[:most]


async def read_beside_the_loop(body: bytes, work: Callable[[], T]) -> T:
    """Return the result of `work` on a JSON text; in a thread if it is long or has many values."""
    size = len(body)
    return await beside_the_loop(size if size > _LARGE else weigh(body), work)


async def beside_the_loop(size: int, work: Callable[[], T]) -> T:
    """Return the result of `work` on `size` bytes; if they are many, in a thread, one at a time."""
    if size <= _LARGE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_LARGE_ANSWERS, work)


def _parsed(body: bytes) -> Any:
    """Parse a text; a large one with the fast parser, because nothing else runs meanwhile."""
    if len(body) > _LARGE:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass  # for example, half of a surrogate pair, which the other parser accepts
    return json.loads(body)
