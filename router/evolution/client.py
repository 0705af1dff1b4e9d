"""A small client of Evolution API 2.3: everything that HybridFlow calls, except sends."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx

from router.evolution.errors import DEEPEST, AnswerTooLarge, EvolutionAway, EvolutionRefused
from router.evolution.exchange import LONGEST_WORD, Exchange, Instance, object_in, read_answer
from router.evolution.subscription import SUBSCRIBED_EVENTS
from router.outbound.answers import MOST_VALUES, read_beside_the_loop, weigh
from router.outbound.bounds import LONGEST_ANSWER
from router.sharing.at_once import InTurn, TooManyAtOnce
from router.whatsapp.clean import as_list, as_number, as_object, as_text, clean
from router.whatsapp.depth import too_deep

_READABLE = 10_000  # levels in an answer; in a list, only a record that is too deep is left out
_MOST_MEDIA = 16_000_000  # bytes; the default of MAX_MEDIA_BYTES
_MOST_TOGETHER = 50_000  # values of several records; a single one may have as many as any answer
_RECORD_WAIT = 60.0  # seconds to wait for the place of a single large record
_MEDIA_WAIT = 30.0  # seconds to wait for a place to fetch media
_MEDIA_VALUES = 2000  # in an answer with media, which has few values besides its base64
_MEDIA = "chat/getBase64FromMediaMessage"
_OF_A_MEDIA = ("mediaType", "fileName", "caption", "size", "mimetype")
_IN_FRONT = 4096  # bytes
_KEY = re.compile(rb'"key"\s*:\s*\{[^{}]*?"id"\s*:\s*"(?P<id>[\w.:=+/-]{1,200})"')
# Evolution stores a message's time in seconds as 32 bits, and answers 500 if the end of a range is
# later. The earliest time is not 0, because it would count as no time.
_EARLIEST = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
_LATEST = datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class MessagePage:
    """One page of stored messages, newest first, in Evolution's format.

    `weight` is roughly how many bytes of memory it takes.
    """

    records: Sequence[Mapping[str, Any]]
    pages: int
    total: int
    weight: int = 0


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """A message's media as Evolution gives it: in base64, with its type and name if known."""

    base64: str = field(repr=False)
    told: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class QrCode:
    """The codes to link a phone; all None if it is already linked."""

    code: str | None
    pairing_code: str | None
    base64: str | None


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """The webhook that is set at Evolution."""

    url: str
    enabled: bool
    events: tuple[str, ...]
    headers: Mapping[str, str] = field(repr=False)  # a header contains the secret
    by_events: bool = False
    """Each event has its own URL: the event's name is appended to the URL, after any query."""
    base64: bool = False
    """Media comes inside the webhook."""


class EvolutionClient(Exchange):
    """Reads Evolution's state and changes its settings, over a shared HTTP client; no sends.

    `most_media` is the maximum size of a message's media in bytes. Every method raises
    EvolutionRefused or EvolutionAway.
    """

    def __init__(self, http: httpx.AsyncClient, most_media: int = _MOST_MEDIA) -> None:
        super().__init__(http)
        # A record that is requested alone may contain media in base64.
        self._longest_record = LONGEST_ANSWER + most_media * 4 // 3
        self._records = InTurn(1)  # so that large records of a tenant do not fill the memory
        self._media = InTurn(1)

    async def find_messages(
        self,
        instance: Instance,
        jid: str | None,
        *,
        page: int = 1,
        page_size: int = 50,
        since: datetime | None = None,
        until: datetime | None = None,
        wa_id: str | None = None,
        other_jid: str | None = None,
    ) -> MessagePage:
        """List the messages that Evolution stored, of one chat or of all, newest first.

        A chat is found by the JID under which its messages are stored, so a person with a LID needs
        two calls; `other_jid` is the other JID. One id may have several records. An edited message
        has the time of its edit, a deleted one has no `message`. Raises AnswerTooLarge if a smaller
        page may work; a page of a single record may be as long as media.
        """
        where: dict[str, Any] = {}
        if key := _given(remoteJid=jid, id=wa_id, remoteJidAlt=other_jid):
            where["key"] = key
        if since is not None or until is not None:
            # Evolution ignores a range with only one end.
            where["messageTimestamp"] = {
                "gte": _moment(since or _EARLIEST),
                "lte": _moment(until or _LATEST),
            }
        asked = {"where": where, "page": page, "offset": page_size}
        if page_size > 1:
            return await self._page(instance, asked, LONGEST_ANSWER)
        try:
            async with self._records.taken(instance.name, _RECORD_WAIT):
                return await self._page(instance, asked, self._longest_record)
        except TooManyAtOnce as error:
            raise EvolutionAway("other heavy messages of it are being read") from error

    async def _page(
        self, instance: Instance, asked: Mapping[str, Any], longest: int
    ) -> MessagePage:
        try:
            answer = await self._fetch(
                instance, "POST", "chat/findMessages", asked, longest=longest
            )
            return await read_beside_the_loop(answer, partial(_page_of, answer, asked["offset"]))
        except AnswerTooLarge as error:
            error.weight = error.weight or longest
            raise

    async def media(
        self, instance: Instance, wa_id: str, most: int, *, to_mp4: bool = False
    ) -> StoredMedia:
        """Return the media of a stored message. Raises AnswerTooLarge if it has over `most` bytes.

        `to_mp4` converts a voice note. An error from Evolution does not mean that it is away: the
        media is gone, or this channel keeps none.
        """
        asked = {"message": {"key": {"id": wa_id}}, "convertToMp4": to_mp4}
        longest = LONGEST_WORD + (most + 2) // 3 * 4
        try:
            async with self._media.taken(instance.name, _MEDIA_WAIT):
                answer = await self._fetch(instance, "POST", _MEDIA, asked, longest=longest)
        except TooManyAtOnce as error:
            raise EvolutionAway("other media of it are being fetched") from error
        except EvolutionAway as error:
            if str(error).startswith("400: "):
                raise EvolutionRefused(f"Evolution cannot give this media: {error}") from error
            raise
        return await read_beside_the_loop(answer, partial(_media_of, answer, most))

    async def connection_state(self, instance: Instance) -> str:
        """Return `open`, `connecting` or `close`."""
        body = object_in(await self._ask(instance, "GET", "instance/connectionState"))
        return as_text(object_in(body.get("instance")).get("state")) or "unknown"

    async def connect(self, instance: Instance) -> QrCode:
        """Begin linking a phone."""
        body = object_in(await self._ask(instance, "GET", "instance/connect"))
        return QrCode(
            code=as_text(body.get("code")) or None,
            pairing_code=as_text(body.get("pairingCode")) or None,
            base64=as_text(body.get("base64")) or None,
        )

    async def set_webhook(
        self,
        instance: Instance,
        url: str,
        headers: Mapping[str, str],
        events: Sequence[str] = SUBSCRIBED_EVENTS,
    ) -> None:
        """Make Evolution post these events to the URL. The flat body of 1.x would get a 400."""
        webhook = {
            "enabled": True,
            "url": url,
            "headers": dict(headers),
            "byEvents": False,
            "base64": False,
            "events": list(events),
        }
        await self._ask(instance, "POST", "webhook/set", {"webhook": webhook})

    async def find_webhook(self, instance: Instance) -> WebhookSettings | None:
        """Return the webhook that is set, if any."""
        body = await self._ask(instance, "GET", "webhook/find")
        found = object_in(body)
        if not (url := as_text(found.get("url"))):
            return None
        return WebhookSettings(
            url=url,
            enabled=bool(found.get("enabled")),
            events=tuple(map(as_text, as_list(found.get("events")))),
            headers={
                clean(name): as_text(value)
                for name, value in as_object(found.get("headers")).items()
            },
            by_events=bool(found.get("webhookByEvents")),
            base64=bool(found.get("webhookBase64")),
        )


def _page_of(answer: bytes, size: int) -> MessagePage:
    try:
        body = read_answer(answer, _READABLE, most=MOST_VALUES if size == 1 else _MOST_TOGETHER)
    except AnswerTooLarge as error:
        error.wa_id = _id_in(answer) if size == 1 else None
        error.weight = len(answer)
        raise
    weight = weigh(answer)
    if isinstance(body, list) and (not body or any(map(object_in, body))):  # before 2.0
        return MessagePage(_objects(body, size), 1, len(body), weight)
    found = object_in(object_in(body).get("messages"))
    if "records" not in found:
        raise EvolutionAway("its answer is not a list of messages: is this URL Evolution API's?")
    return MessagePage(
        records=_objects(found.get("records"), size),
        pages=as_number(found.get("pages")) or 0,
        total=as_number(found.get("total")) or 0,
        weight=weight,
    )


def _media_of(answer: bytes, most: int) -> StoredMedia:
    body = object_in(read_answer(answer, most=_MEDIA_VALUES))
    given = body.get("base64")
    if not isinstance(given, str) or not given:
        raise EvolutionRefused("Evolution cannot give this media: its answer has none")
    if len(given) * 3 // 4 > most + 2:
        raise AnswerTooLarge(f"its media has more than {most} bytes")
    told = {name: body[name] for name in _OF_A_MEDIA if name in body}
    return StoredMedia(given, told)


def _id_in(answer: bytes) -> str | None:
    """Return the id of a record that is too large to be read, from its key, which comes first."""
    found = _KEY.search(answer[:_IN_FRONT])
    return found["id"].decode() if found else None


def _given(**fields: str | None) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def _moment(time: datetime) -> str:
    within = min(max(time.astimezone(UTC), _EARLIEST), _LATEST)
    return within.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _objects(value: Any, most: int) -> Sequence[Mapping[str, Any]]:
    """Return the records of a list; an unreadable record is left out."""
    records = value[:most] if isinstance(value, list) else []
    return [item for item in records if isinstance(item, Mapping) and not too_deep(item, DEEPEST)]
