"""Replies that WhatsApp did not deliver: the words for operators and staff."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from router.state.calls.instances import UndeliveredReplies

UNCOUNTED = 100
"""The state counts replies and contacts only up to this number."""
CURE = (
    "WhatsApp may restrict the number (error 463): open it on the phone (of the Cloud API: the"
    " WhatsApp Manager), where it says so, and for how long. Answer by hand from there; until it"
    " ends write to nobody first and send nothing in bulk."
)


@dataclass(frozen=True, slots=True)
class Failures:
    """A tenant's latest replies, if they failed in a row."""

    replies: int
    contacts: int
    since: datetime
    last_at: datetime

    @classmethod
    def of(cls, found: UndeliveredReplies) -> Self:
        """Read them from the state's answer."""
        return cls(found.replies, found.contacts, found.since, found.last_at)

    def warning(self, now: datetime) -> str:
        """Return the warning for an operator."""
        failed = describe_failures(self.replies, self.contacts)
        first, last = (_ago(now, moment) for moment in (self.since, self.last_at))
        when = last if self.replies == 1 else f"the first {first}, the last {last}"
        return f"WhatsApp did not deliver {failed} ({when}). {CURE}"


def describe_failures(replies: int, contacts: int) -> str:
    """Return the number of replies and contacts in words; from 100 on, as "100 or more"."""
    many = "the last reply" if replies == 1 else f"the last {_counted(replies)} replies"
    return f"{many} (to {_counted(contacts)} contact{'s' if contacts > 1 else ''})"


def _counted(number: int) -> str:
    return f"{number} or more" if number >= UNCOUNTED else str(number)


def _ago(now: datetime, moment: datetime) -> str:
    minutes = max(0, round((now - moment).total_seconds() / 60))
    if minutes < 120:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago"
