"""Recognises answers of a proxy before n8n: nginx, Cloudflare, a load balancer. Pure.

Such an answer is an HTML page, a line of text, or empty. People are shown only a page's title.
"""

import re

from router.outbound.answers import beginning

GAVE_UP = frozenset({408, 504, 524})
"""The proxy stopped waiting for the flow, which may still be running."""
AWAY = frozenset({502, 503, 520, 521, 522, 523, 525, 526, 527, 530})
"""The proxy cannot reach n8n, or lost the connection. Statuses above 503 are Cloudflare's."""

_LONGEST = 200
_TITLE = re.compile(r"<title>([^<]{1,400})", re.IGNORECASE)
_CODE_ALONE = re.compile(rb"\s*error code: \d{3,4}\s*")  # Cloudflare's answer to a program


def is_of_a_proxy(body: bytes) -> bool:
    """Whether an answer is a proxy's: n8n's own has JSON or a sentence."""
    return body.lstrip()[:1] == b"<" or _CODE_ALONE.fullmatch(body) is not None


def told_in(body: bytes) -> str:
    """Return an answer's message for people, in one line; for a page, its title."""
    said = beginning(body, 4 * _LONGEST)
    if said.lstrip()[:1] != "<":
        return said[:_LONGEST]
    title = _TITLE.search(said)
    words = " ".join(title[1].split())[:_LONGEST] if title is not None else "without a title"
    return f"a page of the proxy before n8n: {words}"
