"""A small client of Evolution API 2.3: what HybridFlow asks of it, and nothing else."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from json import JSONDecodeError
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from router.evolution.errors import (
    DEEPEST,
    REPEATS,
    AnswerTooLarge,
    EvolutionAway,
    EvolutionRefused,
    SendInDoubt,
    judge_answer,
    judge_failure,
    most_values,
)
from router.outbound.answers import (
    MOST_VALUES,
    TooManyValues,
    beside_the_loop,
    read_json,
    weigh,
)
from router.outbound.bounds import LONGEST_ANSWER
from router.outbound.client import for_tenant
from router.whatsapp.clean import as_list, as_number, as_object, as_text, clean
from router.whatsapp.depth import too_deep

SUBSCRIBED_EVENTS = (
    "MESSAGES_UPSERT",
    "MESSAGES_UPDATE",
    "MESSAGES_EDITED",
    "MESSAGES_DELETE",
    "SEND_MESSAGE",
    "CONNECTION_UPDATE",
    "QRCODE_UPDATED",
    "LOGOUT_INSTANCE",
    "REMOVE_INSTANCE",
)
_LONGEST_NAME = 200  # characters of a JID or a state; longer ones are none
_READABLE = 10_000  # levels of an answer: of a list, only the record that is too deep is left out
_MOST_MEDIA = 16_000_000  # bytes, as MAX_MEDIA_BYTES where nothing is set
_MOST_TOGETHER = 50_000  # values of several records; one alone may have as many as any answer
_IN_FRONT = 4096  # bytes
_KEY = re.compile(rb'"key"\s*:\s*\{[^{}]*?"id"\s*:\s*"(?P<id>[\w.:=+/-]{1,200})"')
_METHOD_MISSING = "method not available"
# Evolution keeps a message's time as 32 bits of seconds, and answers 500 to a later end than that.
# The earliest is not 0, which it would take for no time at all.
_EARLIEST = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
_LATEST = datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Instance:
    """One WhatsApp number at one Evolution server; the key is the instance's or the global one."""

    server_url: str
    api_key: SecretStr
    name: str


@dataclass(frozen=True, slots=True)
class SentMessage:
    """What Evolution said of a message that it took. `remote_jid` may be rewritten by it."""

    wa_id: str
    remote_jid: str
    status: str | None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """One page of stored messages, newest first, in Evolution's shape.

    `weight` tells roughly how many bytes of memory it takes.
    """

    records: Sequence[Mapping[str, Any]]
    pages: int
    total: int
    weight: int = 0


@dataclass(frozen=True, slots=True)
class QrCode:
    """What links a phone; all None when it is linked already."""

    code: str | None
    pairing_code: str | None
    base64: str | None


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """The webhook that is set at Evolution."""

    url: str
    enabled: bool
    events: tuple[str, ...]
    headers: Mapping[str, str] = field(repr=False)  # a header carries the secret
    by_events: bool = False
    """Each event goes to an address of its own: its name is put behind the URL, query and all."""
    base64: bool = False
    """Media comes inside of the webhook."""


class EvolutionClient:
    """Calls Evolution over shared HTTP clients, whose time-out is that of a send.

    `sends` is for what customers get, where that has connections of its own; `most_media` is how
    many bytes a message's media has at most. Every method raises EvolutionRefused or EvolutionAway;
    `send_text` also SendInDoubt.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        sends: httpx.AsyncClient | None = None,
        most_media: int = _MOST_MEDIA,
    ) -> None:
        self._http = http
        self._sends = sends or http
        # A record that is asked for alone may hold a media, in base64.
        self._longest_record = LONGEST_ANSWER + most_media * 4 // 3

    async def send_text(
        self, instance: Instance, number: str, text: str, *, message_id: str | None = None
    ) -> SentMessage:
        """Send a text at once. Done only if Evolution gives the message's id (`key.id`).

        From 2.4 on Evolution takes the id that is asked for; before, and on other channels than
        Baileys, it makes its own.
        """
        body = {"number": number, "text": text}
        if message_id is not None:
            body["messageId"] = message_id
        return await self.send(instance, "message/sendText", body)

    async def send(
        self,
        instance: Instance,
        path: str,
        body: Mapping[str, Any],
        seconds: float | None = None,
    ) -> SentMessage:
        """Send anything that Evolution sends: `message/sendMedia`, …; `body` has the number.

        `seconds` is how long all of it may take, where that is not the client's own time-out.
        """
        sent = await self._post(instance, path, body, seconds)
        answer = _object(_read(sent.content, most=most_values(sent), is_send=True))
        key = _object(answer.get("key"))  # judged: it is there, with an id
        return SentMessage(
            wa_id=as_text(key.get("id")),
            remote_jid=as_text(key.get("remoteJid"))[:_LONGEST_NAME] or str(body["number"]),
            status=as_text(answer.get("status"))[:_LONGEST_NAME] or None,
        )

    async def send_presence(
        self, instance: Instance, number: str, *, presence: str = "composing", delay_ms: int = 1000
    ) -> bool:
        """Show "typing…" for so long; Evolution answers afterwards. False: the channel cannot."""
        return await self._try(
            instance,
            "chat/sendPresence",
            {"number": number, "presence": presence, "delay": delay_ms},
        )

    async def mark_read(self, instance: Instance, jid: str, wa_ids: Sequence[str]) -> bool:
        """Mark messages as read. False: the channel cannot. A LID is passed over by Evolution."""
        keys = [{"remoteJid": jid, "fromMe": False, "id": wa_id} for wa_id in wa_ids]
        return await self._try(instance, "chat/markMessageAsRead", {"readMessages": keys})

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
    ) -> MessagePage:
        """List what Evolution stored, of one chat or of all, newest first.

        A chat is found by the JID that its messages are stored under, so a person who has a LID is
        asked for twice. One id may have several records. An edited message has the time of its
        edit, a deleted one has no `message`. Raises AnswerTooLarge where a smaller page may do; one
        of a single record may be as long as a media.
        """
        where: dict[str, Any] = {}
        if key := _given(remoteJid=jid, id=wa_id):
            where["key"] = key
        if since is not None or until is not None:
            # Evolution applies the range only if it has both ends.
            where["messageTimestamp"] = {
                "gte": _moment(since or _EARLIEST),
                "lte": _moment(until or _LATEST),
            }
        answer = await self._fetch(
            instance,
            "POST",
            "chat/findMessages",
            {"where": where, "page": page, "offset": page_size},
            longest=self._longest_record if page_size == 1 else LONGEST_ANSWER,
        )
        return await beside_the_loop(len(answer), partial(_page_of, answer, page_size))

    async def connection_state(self, instance: Instance) -> str:
        """Return `open`, `connecting` or `close`."""
        body = _object(await self._ask(instance, "GET", "instance/connectionState"))
        return as_text(_object(body.get("instance")).get("state")) or "unknown"

    async def connect(self, instance: Instance) -> QrCode:
        """Begin linking a phone."""
        body = _object(await self._ask(instance, "GET", "instance/connect"))
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
        """Have Evolution post these events there. The flat body of 1.x would get a 400."""
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
        found = _object(body)
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

    async def _try(self, instance: Instance, path: str, body: Mapping[str, Any]) -> bool:
        try:
            await self._ask(instance, "POST", path, body)
        except EvolutionRefused as error:
            if _METHOD_MISSING in str(error).lower():
                return False
            raise
        return True

    async def _ask(
        self,
        instance: Instance,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        return _read(await self._fetch(instance, method, path, body))

    async def _fetch(
        self,
        instance: Instance,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        longest: int = LONGEST_ANSWER,
    ) -> bytes:
        request = _request(self._http, instance, method, path, body)
        request.extensions["longest"] = longest
        return (await self._exchange(self._http, request)).content

    async def _post(
        self, instance: Instance, path: str, body: Mapping[str, Any], seconds: float | None
    ) -> httpx.Response:
        """Post a send. Its answer may repeat it, but no more of a media is kept than is read."""
        request = _request(self._sends, instance, "POST", path, body)
        request.extensions["longest"] = LONGEST_ANSWER + REPEATS * len(request.content)
        request.extensions["kept"] = LONGEST_ANSWER
        if seconds is not None:
            times = httpx.Timeout(seconds, pool=self._sends.timeout.pool)
            request.extensions["timeout"] = times.as_dict()
        return await self._exchange(self._sends, request, is_send=True)

    async def _exchange(
        self, http: httpx.AsyncClient, request: httpx.Request, *, is_send: bool = False
    ) -> httpx.Response:
        try:
            response = await http.send(request)
        except httpx.RequestError as error:
            raise judge_failure(error, is_send=is_send) from error
        if (judged := judge_answer(response, is_send=is_send)) is not None:
            raise judged
        return response


def _request(
    http: httpx.AsyncClient,
    instance: Instance,
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
) -> httpx.Request:
    """Return a request for the tenant. Raises EvolutionRefused where none can be made."""
    url = f"{instance.server_url.rstrip('/')}/{path}/{quote(instance.name, safe='')}"
    key = instance.api_key.get_secret_value()
    if not (key.isascii() and key.isprintable()):
        raise EvolutionRefused("the key has characters that no HTTP header may hold")
    tenant = for_tenant(instance.name)
    try:
        return http.build_request(
            method, url, json=body, headers={"apikey": key}, extensions=tenant
        )
    except httpx.RequestError as error:
        raise judge_failure(error, is_send=False) from error
    except httpx.InvalidURL as error:
        raise EvolutionRefused(f"the server's address is not a URL: {error}") from error


def _page_of(answer: bytes, size: int) -> MessagePage:
    try:
        body = _read(answer, _READABLE, most=MOST_VALUES if size == 1 else _MOST_TOGETHER)
    except AnswerTooLarge as error:
        error.wa_id = _id_in(answer) if size == 1 else None
        raise
    weight = weigh(answer)
    if isinstance(body, list) and (not body or any(map(_object, body))):  # before 2.0
        return MessagePage(_objects(body, size), 1, len(body), weight)
    found = _object(_object(body).get("messages"))
    if "records" not in found:
        raise EvolutionAway("its answer is no list of messages: is this address Evolution API?")
    return MessagePage(
        records=_objects(found.get("records"), size),
        pages=as_number(found.get("pages")) or 0,
        total=as_number(found.get("total")) or 0,
        weight=weight,
    )


def _id_in(answer: bytes) -> str | None:
    """Return the id of a record that is too large to be read: its key stands in front."""
    found = _KEY.search(answer[:_IN_FRONT])
    return found["id"].decode() if found else None


def _read(
    answer: bytes, deepest: int = DEEPEST, *, most: int = MOST_VALUES, is_send: bool = False
) -> Any:
    try:
        return read_json(answer, deepest, most)
    except ValueError as error:
        raise _unreadable(error, is_send=is_send) from error


def _given(**fields: str | None) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def _moment(time: datetime) -> str:
    within = min(max(time.astimezone(UTC), _EARLIEST), _LATEST)
    return within.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _objects(value: Any, most: int) -> Sequence[Mapping[str, Any]]:
    """Return the records of a list; one that nobody could read is none, and spoils no other."""
    records = value[:most] if isinstance(value, list) else []
    return [item for item in records if isinstance(item, Mapping) and not too_deep(item, DEEPEST)]


def _unreadable(error: ValueError, *, is_send: bool) -> EvolutionAway | SendInDoubt:
    if isinstance(error, TooManyValues) and not is_send:
        return AnswerTooLarge(f"its answer is too large: {error}")
    why = "" if isinstance(error, JSONDecodeError | UnicodeDecodeError) else f" ({error})"
    text = f"its answer is no JSON{why}: is this address Evolution API?"
    return SendInDoubt(text) if is_send else EvolutionAway(text)
