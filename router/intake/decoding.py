"""A webhook's body, from bytes to JSON."""

import json

import orjson

from router.intake.rejections import Rejected

_MOST_DIGITS = 40  # of an integer that is read exactly
_MOST_OF_A_NUMBER = 400


def decode(raw: bytes) -> object:
    """Return the body's JSON. Raises Rejected if it is not JSON."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _decode_leniently(raw)


def _decode_leniently(raw: bytes) -> object:
    """Accept lone surrogates, which JavaScript writes and orjson refuses; they are cleaned later.

    Very long numbers are refused: Python takes long to parse them, and WhatsApp sends none.
    """
    try:
        text = raw.decode("utf-8", "surrogatepass")
        return json.loads(text, parse_int=_integer, parse_float=_fraction)
    except (ValueError, RecursionError) as error:
        raise Rejected(422, "not_json", f"the body is not JSON: {error}") from error


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _MOST_DIGITS else _fraction(digits)


def _fraction(digits: str) -> float:
    if len(digits) > _MOST_OF_A_NUMBER:
        raise ValueError(f"a number has more than {_MOST_OF_A_NUMBER} characters")
    return float(digits)
