"""Reads the JSON that others answer with, and no more of it than can do harm.

A few bytes of `[[],[],…` become a hundred times as many in memory, and reading them stops the
process: what is going to be read is counted first.
"""

import json
from typing import Any

from router.limits.depth import too_deep

MOST_VALUES = 300_000
_DEEPEST = 100
_OF_A_VALUE = 60  # bytes


class TooManyValues(ValueError):
    """It has more values than are read; fewer at a time may be."""


def count_values(body: bytes) -> int:
    """Return how many values a JSON text has at most."""
    return body.count(b",") + body.count(b"[") + body.count(b"{") + 1


def weigh(body: bytes) -> int:
    """Return roughly how many bytes of memory a JSON text takes when it is read."""
    return len(body) + _OF_A_VALUE * count_values(body)


def read_json(body: bytes, deepest: int = _DEEPEST, most: int = MOST_VALUES) -> Any:
    """Return what a JSON text says. Raises ValueError where it is none, or is monstrous.

    `deepest` is how many objects and lists may stand inside each other, `most` how many values
    there may be: beyond that it is TooManyValues.
    """
    if (values := count_values(body)) > most:
        raise TooManyValues(f"it has {values} values, more than {most}")
    try:
        found = json.loads(body)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if too_deep(found, deepest):
        raise ValueError("it is nested too deep")
    return found
