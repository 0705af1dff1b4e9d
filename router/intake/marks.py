"""The marks that every event gets on its way in, from a webhook or from gap repair.

They are: its correlation id, by which its log lines are found; the hashes of its contact, by which
an erased person is recognised; and whether it is part of a flood. Beyond a number of messages a
minute, a contact's messages start no turn. Messages from gap repair never count as a flood, because
they were not written just now.
"""

from limits import RateLimitItem

from router.people.hashing import ContactHashes
from router.sharing.rates import Rates, per_minute
from router.state.database import Json


class Marks:
    """Adds the marks; a contact may write `messages_per_minute`, counted in `rates`."""

    def __init__(self, hashes: ContactHashes, rates: Rates, messages_per_minute: int) -> None:
        self._hashes = hashes
        self._rates = rates
        self._limit: RateLimitItem = per_minute(messages_per_minute)

    def marked(self, event: Json, correlation_id: str) -> Json:
        """Return the event with its marks, as the state expects it."""
        event["correlation_id"] = correlation_id
        if self._is_flood(event):
            event["flood"] = True
        return self._hashes.added_to(event)

    def _is_flood(self, event: Json) -> bool:
        if event["type"] != "message" or event["from_me"] or not event["jids"]:
            return False
        if "fetched" in event:
            return False
        who = ("contact", event["instance"], event["jids"][0])
        return self._rates.exceeded(self._limit, *who) is not None
