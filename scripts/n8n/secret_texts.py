"""Finds texts that should be credentials: by their name, or by their form."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# The secret part of the tokens in the pinned examples.
EXAMPLE_TOKEN = "00000000-0000-4000-8000-000000000000"  # nosec B105  # noqa: S105 - opens nothing

_NAMES = (
    r"authorization|api[-_]?key|x-[\w-]*(?:key|secret|token)|cookie|password"
    r"|(?:(?:access|auth|bearer|refresh)[-_]?)?token|(?:client[-_]?)?secret"
)
_NAME = re.compile(rf"(?i)^(?:{_NAMES})$")
_LOOKS = re.compile(
    r"\bsk-[\w-]{16,}|\bsb_secret_\w+|\bgh[pousr]_\w{20,}|\bAIza[\w-]{20,}|\bAKIA[A-Z0-9]{16}\b"
    r"|(?i:\b(?:bearer|basic)\s+)(?=[\w.~+/-]*\d)[\w.~+/-]{16,}"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.|-----BEGIN [A-Z ]*PRIVATE KEY"
    rf"|\bhf[tn]_\d+_(?!{EXAMPLE_TOKEN})[0-9a-f]{{8}}-"
    r"|\b[a-z][a-z0-9+.-]*://[^\s/:@{}]+:[^\s/@{}<]+@"
    # Inside a text: a header in JSON or code, a query in a URL. The value of an expression is not
    # one.
    rf"""|(?i:["']?\b(?:{_NAMES})["']?\s*:\s*["'](?!\s*\{{\{{|\s*=|["'<]))"""
    rf"|(?i:[?&](?:{_NAMES})=)(?=[\w%-])"
)


def is_secret(name: str, text: str) -> bool:
    """Whether a text with this name is a secret; not if it is empty or computed by n8n."""
    literal = "{{" not in text and text.strip("= \n") != ""
    return bool((literal and _NAME.match(name)) or looks_secret(text))


def looks_secret(text: str) -> bool:
    """Whether a text is, or contains, something that only a secret looks like."""
    return _LOOKS.search(text) is not None


def texts(value: Any, path: str = "", name: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (path, name, text) of every text; in a name-value pair, the name is the pair's."""
    match value:
        case {"name": str() as own, "value": str() as text, **rest}:
            yield f"{path}.value".lstrip("."), own, text
            yield from texts(rest, path)
        case Mapping():
            for key, inner in value.items():
                yield from texts(inner, f"{path}.{key}", str(key))
        case list():
            for number, inner in enumerate(value):
                yield from texts(inner, f"{path}[{number}]", name)
        case str():
            yield path.lstrip("."), name, value
