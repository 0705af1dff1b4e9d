"""What stands before n8n and answers in its place: nginx, Cloudflare, a load balancer. Pure.

Its answers are pages of HTML, a line of text, or nothing: of a page people are told its title.
"""

import re

from router.outbound.answers import beginning

GAVE_UP = frozenset({408, 504, 524})
"""It waited for the flow no longer. That may run on."""
AWAY = frozenset({502, 503, 520, 521, 522, 523, 525, 526, 527, 530})
"""It has nobody behind it, or whoever was there went. Those above 503 are Cloudflare's."""

_LONGEST = 200
_TITLE = re.compile(r"<title>([^<]{1,400})", re.IGNORECASE)
_CODE_ALONE = re.compile(rb"\s*error code: \d{3,4}\s*")  # Cloudflare's, to whom is no browser


def is_of_a_proxy(body: bytes) -> bool:
    """Whether an answer is none of n8n's, which says in JSON or in a sentence what it means."""
    return body.lstrip()[:1] == b"<" or _CODE_ALONE.fullmatch(body) is not None


def told_in(body: bytes) -> str:
    """Return what an answer says, for people: of a page its title, in one line."""
    said = beginning(body, 4 * _LONGEST)
    if said.lstrip()[:1] != "<":
        return said[:_LONGEST]
    title = _TITLE.search(said)
    words = " ".join(title[1].split())[:_LONGEST] if title is not None else "without a title"
    return f"a page of what stands before n8n: {words}"
