"""One Evolution instance: its channel, its stored messages, and its chats."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from loopback.evolution.chats import Author, Chat, Identity, Json, person_jid
from loopback.evolution.contents import Content, as_cloud, with_base64
from loopback.evolution.identifiers import (
    Channel,
    Device,
    addressed,
    cloud_message_id,
    instance_id,
    message_id,
    phone_jid,
    row_id,
)
from loopback.evolution.socket import Seconds, Socket
from loopback.evolution.store import MessageStore
from loopback.evolution.traffic import Program, Traffic
from loopback.evolution.webhooks import Delivery
from loopback.faults import Fault, FaultPlan
from loopback.waiting import Gate

ChatType = TypeVar("ChatType", bound=Chat)

_STATES: dict[Channel, tuple[str, ...]] = {
    "WHATSAPP-BAILEYS": ("DELIVERY_ACK", "READ"),
    "WHATSAPP-BUSINESS": ("SENT", "DELIVERED", "READ"),
    "EVOLUTION": (),
}


@dataclass(slots=True)
class Call:
    """One call of the REST API: the endpoint's name, its JSON, and the status of the answer."""

    endpoint: str
    body: Any
    headers: Mapping[str, str]
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that was sent: its data as stored, and as answered and reported, with base64."""

    chat: Chat
    author: Author
    data: Json
    told: Json
    source: str | None


class Instance:
    """One instance. Change the attributes below to change its behaviour."""

    def __init__(
        self,
        program: Program,
        name: str,
        channel: Channel,
        *,
        token: str,
        number: str,
        profile: str,
    ) -> None:
        self.program = program
        self.name = name
        self.channel: Channel = channel
        self.token = token
        self.jid = phone_jid(number)
        self.profile = profile
        self.id = instance_id()
        self.state: Literal["connecting", "open", "close"] = "open"
        self.is_known = True
        """Whether the owner's number is known; it is not before the first connection."""
        self.qr: Json = {"count": 0}
        self.webhooks = Traffic(program, name)
        self.store = MessageStore()
        self.faults = FaultPlan(program.changes)
        self.calls_made: list[Call] = []
        self.chats: list[Chat] = []
        self.read: list[str] = []
        """The ids of the messages that were marked as read."""
        self.absent: set[str] = set()
        """Numbers that are not on WhatsApp."""
        self.tells_sends: Literal["after", "before", "never"] = "after"
        """When send.message and messages.update come: after the send's answer, before it, never."""
        self.tells_states = _STATES[channel]
        """The states that messages.update reports for each send."""
        self.stores_sends = True
        """Whether findMessages finds sent messages."""
        self.sent: dict[str, Sent] = {}
        """Everything that was sent through the REST API, by id, oldest first."""
        self.socket = Socket(program.changes)
        """The connection to WhatsApp, which may be slow."""
        self.media_at: dict[str, bytes | int] = {}
        """What is at the URLs of media: bytes, or an error's status. Else it is made up."""
        self.received: dict[str, bytes | None] = {}
        """Media of received messages, by the message's id: its bytes, or None if WhatsApp no longer
        has them. All other media is one pixel."""
        self.refuses_uploads = False
        """Whether Meta refuses media that is given in base64 (WHATSAPP-BUSINESS)."""
        self.access_token = "EAAloopback0access0token"  # noqa: S105 - a made-up one
        self.bots: dict[str, list[Json]] = {}
        """Evolution's own bots, by kind, as in `GET /{kind}/find/{instance}`."""

    def fail(self, endpoint: str, fault: Fault, *, times: int | None = 1) -> None:
        """Let an endpoint's next `times` calls (None: all, until `heal`) fail with this fault."""
        self.faults.fail(endpoint, fault, times=times)

    def heal(self, endpoint: str | None = None) -> None:
        """Remove the faults and open the gates of one endpoint, or of all and of the socket."""
        self.faults.heal(endpoint)
        if endpoint is None:
            self.socket.heal()

    def slow_socket(self, seconds: Seconds, *, times: int | None = None) -> None:
        """Let the next `times` sends (None: all) take this long until they leave."""
        self.socket.is_slow(seconds, times=times)

    def hold_socket(self) -> Gate:
        """Hold sends just before they leave, after everything that Evolution does before that."""
        return self.socket.hold()

    def hold(self, endpoint: str, *, after: bool = False) -> Gate:
        """Hold the calls of an endpoint before or after they take effect."""
        return self.faults.hold(endpoint, after=after)

    def calls(self, endpoint: str) -> list[Call]:
        """Return the calls of an endpoint so far, such as `sendText`, oldest first."""
        with self.program.changes.lock:
            return [call for call in self.calls_made if call.endpoint == endpoint]

    async def called(self, endpoint: str, times: int = 1) -> list[Call]:
        """Wait until the endpoint has been called this many times."""
        return await self.program.changes.until(
            lambda: calls if len(calls := self.calls(endpoint)) >= times else [],
            f"{times} call(s) of {endpoint} of {self.name}",
        )

    def chat_at(self, number: str) -> Chat:
        """Return the chat that a send to this number or JID reaches; create it if it is missing."""
        with self.program.changes.lock:
            return self.find_chat(number) or self.add(Chat(self.program.changes, addressed(number)))

    def find_chat(self, number: str) -> Chat | None:
        """Return the chat at this number or JID."""
        jid = person_jid(number)
        return next((chat for chat in self.chats if chat.is_at(jid)), None)

    def add(self, chat: ChatType) -> ChatType:
        """Add a chat."""
        with self.program.changes.lock:
            self.chats.append(chat)
        return chat

    def emit(self, event: str, data: Any, chat: Chat | None = None) -> Delivery:
        """Send a webhook. Webhooks of one chat are sent one after the other."""
        envelope: Json = {"server_url": self.program.url, "apikey": self.token}
        if self.channel == "WHATSAPP-BAILEYS" and self.is_known:
            envelope = {"sender": self.jid} | envelope
        elif self.channel == "WHATSAPP-BUSINESS":
            envelope["apikey"] = self.access_token
        return self.webhooks.emit(event, data, envelope, f"{self.name} {chat and chat.jid}")

    def upsert(
        self,
        chat: Chat,
        content: Content,
        key: Json,
        *,
        author: Author,
        push_name: str | None,
        status: str | None,
        device: Device = "android",
        at: float | None = None,
    ) -> Delivery:
        """Store a message, put it on the phone and report it by messages.upsert.

        A message with a known id is only reported again. `at` is seconds since 1970.
        """
        content = self.in_channel(content)
        data = self.compose(content, key, push_name, status, device, at)
        cloud_media = self.channel == "WHATSAPP-BUSINESS" and content.is_media
        with self.program.changes.made():
            if not cloud_media:  # media of the Cloud API is passed on, and not stored
                self.store.add_received(row_id(), data)
            if content.shown and not chat.has(key["id"]):
                chat.show(key["id"], author, content.shown)
        told = data
        setting = self.webhooks.setting
        if cloud_media or (setting is not None and setting.base64):
            told = data | {"message": with_base64(content)}
        return self.emit("messages.upsert", told, chat)

    def compose(
        self,
        content: Content,
        key: Json,
        push_name: str | None,
        status: str | None,
        device: Device,
        at: float | None,
    ) -> Json:
        """Return a message in the format of webhooks and of the store."""
        baileys = self.channel == "WHATSAPP-BAILEYS"
        data: Json = {"key": key} | ({} if push_name is None else {"pushName": push_name})
        if baileys and status is not None:
            data["status"] = status
        data["message"] = content.message
        if content.context is not None or (baileys and content.has_context):
            data["contextInfo"] = content.context
        return data | {
            "messageType": content.message_type,
            "messageTimestamp": int(self.program.now() if at is None else at),
            "instanceId": self.id,
            "source": device if baileys else "unknown",
        }

    def in_channel(self, content: Content) -> Content:
        """Return the content in this channel's format."""
        return as_cloud(content) if self.channel == "WHATSAPP-BUSINESS" else content

    def new_id(self, device: Device) -> str:
        """Return the id for a new message, in this channel's format."""
        return cloud_message_id() if self.channel == "WHATSAPP-BUSINESS" else message_id(device)

    def newsletter_posts(
        self, body: Content, jid: str = "120363111111111111@newsletter"
    ) -> Delivery:
        """Let a channel that the owner follows post something."""
        key = {"remoteJid": jid, "fromMe": False, "id": self.new_id("android")}
        data = self.compose(body, key, "Canal", "DELIVERY_ACK", "android", None)
        with self.program.changes.made():
            self.store.add_received(row_id(), data)
        return self.emit("messages.upsert", data)

    def identity_of(self, chat: Chat, identity: Identity | None) -> Identity:
        """Return which addresses are reported: channels other than Baileys know only the phone."""
        return (identity or chat.identity) if self.channel == "WHATSAPP-BAILEYS" else "pn"
