"""The people at the phones: a customer, and the owner of the business's number.

Their actions are reported like in Evolution API 2.3.6. Each method returns the delivery of its
webhook: await it to be sure that the router has answered.
"""

from typing import Protocol

from loopback.evolution import contents
from loopback.evolution.chats import Chat, Identity, Json, person_jid
from loopback.evolution.contents import Content
from loopback.evolution.identifiers import Device, javascript_date
from loopback.evolution.instance import Instance
from loopback.evolution.webhooks import Delivery


class Message(Protocol):
    """Anything that identifies a message: its delivery, or the message on the phone."""

    @property
    def wa_id(self) -> str:
        """The message's WhatsApp id."""


class Customer(Chat):
    """A person who writes to an instance, and the conversation with them."""

    def __init__(
        self, instance: Instance, number: str, name: str, lid: str | None, identity: Identity | None
    ) -> None:
        told = identity or ("pn" if lid is None else "lid_with_pn")
        lid_jid = lid if lid is None or "@" in lid else f"{lid}@lid"
        super().__init__(instance.program.changes, person_jid(number), lid_jid, told)
        self.number = number
        self.name = name
        self._instance = instance
        self._met = False

    def writes(
        self,
        body: str,
        *,
        identity: Identity | None = None,
        at: float | None = None,
        wa_id: str | None = None,
    ) -> Delivery:
        """Write a text. `at`: seconds since 1970, for late messages; `wa_id`: to repeat one."""
        return self.sends(contents.text(body), identity=identity, at=at, wa_id=wa_id)

    def sends(
        self,
        content: Content,
        *,
        identity: Identity | None = None,
        at: float | None = None,
        wa_id: str | None = None,
    ) -> Delivery:
        """Send any content; see `loopback.evolution.contents`."""
        shop = self._instance
        told = shop.identity_of(self, identity)
        key = self.key(wa_id or shop.new_id("android"), from_me=False, identity=told)
        delivery = shop.upsert(
            self, content, key, author="customer", push_name=self.name, status="DELIVERY_ACK", at=at
        )
        self._is_noticed(key["remoteJid"])
        return delivery

    def quotes(self, message: Message, body: str) -> Delivery:
        """Answer one message, and quote its text."""
        stored = self._instance.store.get(message.wa_id)
        said = (stored.data["message"] or {}) if stored else {}
        quoted = str(said.get("conversation", ""))
        return self.sends(contents.quoting(body, message.wa_id, quoted, self._instance.jid))

    def reacts(self, message: Message, emoji: str = "👍") -> Delivery:
        """React to a message; an empty emoji removes the reaction."""
        key = _key_of(self._instance, self, message)
        return self.sends(contents.reaction(emoji, key, self._instance.program.now()))

    def edits(self, message: Message, body: str) -> Delivery:
        """Edit an own message."""
        return _edit(self._instance, self, message, body)

    def deletes(self, message: Message, *, event: str = "messages.edited") -> Delivery:
        """Delete an own message for everyone; `event` may be messages.delete."""
        return _delete(self._instance, self, message, event)

    def types(self) -> Delivery:
        """Begin to type."""
        presence = {self.jid: {"lastKnownPresence": "composing"}}
        return self._instance.emit("presence.update", {"id": self.jid, "presences": presence}, self)

    def calls(self, *, auto_reply: str | None = None) -> Delivery:
        """Call the business; with `auto_reply` (Evolution's msgCall), return its delivery.

        The automatic answer is an upsert with fromMe and the status PENDING.
        """
        shop = self._instance
        call = {"chatId": self.jid, "from": self.jid, "id": "CALL1", "isVideo": False}
        call["date"] = javascript_date(shop.program.now())
        call |= {"isGroup": False, "status": "offer", "offline": False}
        delivery = shop.emit("call", call, self)
        if auto_reply is None:
            return delivery
        return shop.upsert(
            self, contents.text(auto_reply), self.key(shop.new_id("web"), from_me=True),
            author="evolution", push_name="Você", status="PENDING", device="web",
        )  # fmt: skip

    def _is_noticed(self, jid: str) -> None:
        """Let Evolution report the contact, as it does with each message."""
        shop = self._instance
        contact: Json = {} if shop.channel == "WHATSAPP-BUSINESS" else {"remoteJid": jid}
        contact |= {"pushName": self.name}
        if shop.channel == "WHATSAPP-BAILEYS":
            contact |= {"profilePicUrl": None}
        known = self._met and shop.channel == "WHATSAPP-BAILEYS"
        event = "contacts.update" if known else "contacts.upsert"
        shop.emit(event, contact | {"instanceId": shop.id}, self)
        self._met = True

    def writes_in(self, group: Chat, body: str) -> Delivery:
        """Write in a group."""
        key = group.key(self._instance.new_id("android"), from_me=False)
        key["participant"] = self.jid if self.lid is None else self.lid
        if self.lid is not None:
            key |= {"participantAlt": self.jid, "addressingMode": "lid"}
        return self._instance.upsert(
            group, contents.text(body), key,
            author="customer", push_name=self.name, status="DELIVERY_ACK",
        )  # fmt: skip

    def posts_status(self, body: str) -> Delivery:
        """Post a status, which all contacts see."""
        key = {"remoteJid": "status@broadcast", "fromMe": False, "participant": self.jid}
        key["id"] = self._instance.new_id("android")
        content = contents.text(body)
        data = self._instance.compose(content, key, self.name, "DELIVERY_ACK", "android", None)
        return self._instance.emit("messages.upsert", data | {"contextInfo": None})


class Owner:
    """The person with the business's phone or its WhatsApp Web."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def writes(
        self,
        chat: Chat,
        body: str,
        *,
        device: Device = "android",
        identity: Identity | None = None,
    ) -> Delivery:
        """Write to a customer by hand: messages.upsert, fromMe, SERVER_ACK.

        WHATSAPP-BUSINESS does not report it.
        """
        return self.sends(chat, contents.text(body), device=device, identity=identity)

    def sends(
        self,
        chat: Chat,
        content: Content,
        *,
        device: Device = "android",
        identity: Identity | None = None,
        wa_id: str | None = None,
    ) -> Delivery:
        """Send a customer any content."""
        shop = self._instance
        told = shop.identity_of(chat, identity)
        key = chat.key(wa_id or shop.new_id(device), from_me=True, identity=told)
        if shop.channel == "WHATSAPP-BUSINESS":
            if content.shown:
                chat.show(str(key["id"]), "owner", content.shown)
            return shop.webhooks.untold("messages.upsert")
        name = shop.profile if device == "android" else "Você"
        return shop.upsert(
            chat, content, key, author="owner", push_name=name, status="SERVER_ACK", device=device
        )

    def wrote_offline(self, chat: Chat, body: str, *, at: float) -> Delivery:
        """Report late what was written while Evolution was away: no status, an old time."""
        key = chat.key(self._instance.new_id("android"), from_me=True)
        name = chat.name if isinstance(chat, Customer) else None
        return self._instance.upsert(
            chat, contents.text(body), key, author="owner", push_name=name, status=None, at=at
        )

    def reacts(self, chat: Chat, message: Message, emoji: str = "👍") -> Delivery:
        """React to a message."""
        key = _key_of(self._instance, chat, message)
        return self.sends(chat, contents.reaction(emoji, key, self._instance.program.now()))

    def edits(self, chat: Chat, message: Message, body: str) -> Delivery:
        """Edit a message of the business."""
        return _edit(self._instance, chat, message, body)

    def deletes(self, chat: Chat, message: Message, *, event: str = "messages.edited") -> Delivery:
        """Delete a message for everyone; `event` may be messages.delete."""
        return _delete(self._instance, chat, message, event)

    def greeting(self, chat: Chat, body: str) -> Delivery:
        """Let WhatsApp Business greet a customer automatically: it looks exactly like the owner."""
        return self._instance.upsert(
            chat, contents.text(body), chat.key(self._instance.new_id("android"), from_me=True),
            author="greeting", push_name=self._instance.profile, status="SERVER_ACK",
        )  # fmt: skip


def _key_of(instance: Instance, chat: Chat, message: Message) -> Json:
    stored = instance.store.get(message.wa_id)
    return chat.key(message.wa_id, from_me=bool(stored and stored.data["key"]["fromMe"]))


def _edit(instance: Instance, chat: Chat, message: Message, body: str) -> Delivery:
    edited = {"conversation": body}
    data = {"key": _key_of(instance, chat, message), "type": "MESSAGE_EDIT"}
    data |= {"editedMessage": edited, "timestampMs": str(int(instance.program.now() * 1000))}
    if stored := instance.store.get(message.wa_id):
        stored.edit(edited, instance.program.now())
    chat.change(message.wa_id, body)
    return instance.emit("messages.edited", data, chat)


def _delete(instance: Instance, chat: Chat, message: Message, event: str) -> Delivery:
    key = _key_of(instance, chat, message)
    chat.change(message.wa_id, None)
    if stored := instance.store.get(message.wa_id):
        stored.revoke(instance.program.now())
    data = key if event == "messages.delete" else {"key": key, "type": "REVOKE"}
    return instance.emit(event, data, chat)
