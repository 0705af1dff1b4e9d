"""The text of a configuration error: what is wrong with the value, and the fix."""

from types import NoneType
from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from router.configuration.values import shown

_FAULTS = {
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "finite_number": "is not a number",
    "bool_parsing": "is neither true nor false",
    "literal_error": "is not known",
    "greater_than": "is too small",
    "greater_than_equal": "is too small",
    "less_than": "is too large",
    "less_than_equal": "is too large",
}


def fault_text(error: ErrorDetails, field: FieldInfo) -> str:
    """Return what is wrong with the value of `field`, and the fix.

    A kind of value with its own rules raises a ValueError whose text already says both.
    """
    if error["type"] == "value_error":
        return f"{error['ctx']['error']}."
    fault = _FAULTS.get(error["type"], "cannot be used")
    return f"{shown(error['input'])} {fault}. {_cure(field)}."


def _cure(field: FieldInfo) -> str:
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    kind = field.annotation if get_origin(field.annotation) is Literal or not kinds else kinds[0]
    if get_origin(kind) is Literal:
        return f"Choose one of: {', '.join(get_args(kind))}"
    if kind is bool:
        return "Write true or false"
    if kind in (int, float):
        number = "whole number" if kind is int else "number"
        default = "" if field.default is None else f" (the default is {field.default})"
        return f"Give a {number} {_range(field)}{default}"
    return "See .env.example"


def _range(field: FieldInfo) -> str:
    words = []
    for bound in field.metadata:
        match bound:
            case Gt():
                words.append(f"greater than {bound.gt}")
            case Ge():
                words.append(f"from {bound.ge}")
            case Lt():
                words.append(f"below {bound.lt}")
            case Le():
                words.append(f"up to {bound.le}")
    return " ".join(words)
