"""Decides whether a JSON text may be parsed, by the number of its values and their nesting."""

import asyncio

import orjson

from router.http.bodies import TooMuch
from router.whatsapp.depth import too_deep
from router.whatsapp.elements import may_be_deep, too_many

_LARGE = 1_000_000  # bytes; a larger text is checked in a thread


async def require_few_values(raw: bytes, most: int) -> None:
    """Raise TooMuch if the text has too many values to be parsed while others wait."""
    if len(raw) <= most:
        return
    many = (
        too_many(raw, most) if len(raw) < _LARGE else await asyncio.to_thread(too_many, raw, most)
    )
    if many:
        raise TooMuch(422, "too_many_values", f"JSON may have {most} values at most")


def require_shallow(value: object, raw: bytes, most: int) -> None:
    """Raise TooMuch if the parsed text is nested too deep."""
    if may_be_deep(raw, most) and too_deep(value, most):
        raise _too_deep(most)


def require_shallow_text(raw: bytes, most: int) -> None:
    """Raise TooMuch if the text is JSON that is nested too deep."""
    if not may_be_deep(raw, most):
        return
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):
            raise _too_deep(most) from error
        return  # it is not JSON, which the endpoint will say
    require_shallow(value, raw, most)


def _too_deep(most: int) -> TooMuch:
    return TooMuch(422, "too_deep", f"JSON may be nested {most} deep at most")
