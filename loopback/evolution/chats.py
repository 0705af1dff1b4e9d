"""A conversation on the customer's phone: the ground truth of what was sent."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from loopback.evolution.identifiers import phone_jid, same_phone
from loopback.waiting import DEADLINE, Changes

Json = dict[str, Any]
Identity = Literal["pn", "pn_with_lid", "lid_with_pn", "lid"]
"""Which of a person's addresses Evolution reports: only the phone, the phone with the LID as
`remoteJidAlt`, the LID with the phone as `remoteJidAlt` (2.3.6), or only the LID."""
Author = Literal["customer", "owner", "api", "other_api", "greeting", "evolution"]
"""Who wrote. `api`: a caller of the REST API. `evolution`: its own answer to a phone call."""


@dataclass(frozen=True, slots=True)
class PhoneMessage:
    """One message on the phone."""

    wa_id: str
    author: Author
    text: str
    media: str | None = None
    """Identifies media: the given URL, or the hash of its bytes."""
    at: float = field(default_factory=time.time, compare=False)
    """When it arrived, in seconds since 1970, by this machine's clock."""

    def __str__(self) -> str:
        return f"{self.author:>9}: {self.text}"


class Chat:
    """One conversation of an instance: with a person, or in a group."""

    def __init__(
        self, changes: Changes, jid: str, lid: str | None = None, identity: Identity = "pn"
    ) -> None:
        self.changes = changes
        self.jid = jid
        self.lid = lid
        self.identity: Identity = identity
        self.answers_as: str | None = None
        """The JID in the answer of a send, if it is not the one that was written to."""
        self._phone: list[PhoneMessage] = []

    @property
    def transcript(self) -> Sequence[PhoneMessage]:
        """What is on the phone, oldest first."""
        with self.changes.lock:
            return tuple(self._phone)

    @property
    def replies(self) -> list[str]:
        """The texts on the phone that came through the REST API."""
        return [message.text for message in self.transcript if message.author == "api"]

    async def answered(self, replies: int = 1, *, within: float = DEADLINE) -> list[str]:
        """Wait until this many replies are on the phone, and return all of them."""
        return await self.changes.until(
            lambda: self._enough(replies), self._expected(replies), within=within
        )

    def block_until_answered(self, replies: int = 1, *, within: float = DEADLINE) -> list[str]:
        """Like `answered`, for callers without an event loop."""
        return self.changes.block_until(
            lambda: self._enough(replies), self._expected(replies), within=within
        )

    def story(self) -> str:
        """Return the conversation as text."""
        return "\n".join([f"{self.jid}:", *(f"  {message}" for message in self.transcript)])

    def has(self, wa_id: str) -> bool:
        """Return whether the message is on the phone."""
        return any(message.wa_id == wa_id for message in self.transcript)

    def show(self, wa_id: str, author: Author, text: str, media: str | None = None) -> None:
        """Put a message on the phone."""
        with self.changes.made():
            self._phone.append(PhoneMessage(wa_id, author, text, media))

    def change(self, wa_id: str, text: str | None) -> None:
        """Edit a message on the phone; None deletes it."""
        with self.changes.made():
            self._phone = [
                replace(message, text=text) if message.wa_id == wa_id and text else message
                for message in self._phone
                if message.wa_id != wa_id or text is not None
            ]

    def take_over(self, other: "Chat") -> None:
        """Take over the conversation of another chat."""
        with self.changes.made():
            self._phone = [*other.transcript, *self._phone]

    def key(self, wa_id: str, *, from_me: bool, identity: Identity | None = None) -> Json:
        """Return the key of a message in this chat."""
        told = identity or self.identity
        if told != "pn" and self.lid is None:
            raise ValueError(f"{self.jid} has no lid")
        first = self.jid if told in ("pn", "pn_with_lid") else self.lid
        key: Json = {"remoteJid": first, "fromMe": from_me, "id": wa_id}
        if told in ("pn_with_lid", "lid_with_pn"):
            key["remoteJidAlt"] = self.lid if told == "pn_with_lid" else self.jid
        if told != "pn":
            key["addressingMode"] = "pn" if told == "pn_with_lid" else "lid"
        return key

    def is_at(self, jid: str) -> bool:
        """Return whether the JID belongs to this chat."""
        return jid == self.lid or same_phone(jid, self.jid)

    def _enough(self, replies: int) -> list[str]:
        return found if len(found := self.replies) >= replies else []

    def _expected(self, replies: int) -> str:
        return f"{replies} reply or replies on the phone of {self.jid}"


def person_jid(number: str) -> str:
    """Return the JID of a number; the number may be a JID already."""
    return number if "@" in number else phone_jid(number)
