"""One instance with the people on both sides: tests and the demo use this."""

from loopback.evolution.chats import Chat, Identity, Json
from loopback.evolution.contents import text
from loopback.evolution.identifiers import Channel
from loopback.evolution.instance import Instance
from loopback.evolution.line import Line
from loopback.evolution.people import Customer, Message, Owner
from loopback.evolution.sending import echo, other_client_sends, tell_state
from loopback.evolution.traffic import ALL_EVENTS, Program, WebhookSetting
from loopback.evolution.webhooks import Delivery


class Business(Instance):
    """One instance, its `owner` and its `line` to WhatsApp; `customer` makes customers."""

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
        super().__init__(program, name, channel, token=token, number=number, profile=profile)
        self.owner = Owner(self)
        self.line = Line(self)

    def sends_webhooks_to(
        self,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        by_events: bool = False,
        base64: bool = False,
        events: tuple[str, ...] = ALL_EVENTS,
    ) -> None:
        """Set the webhook, like POST /webhook/set."""
        self.webhooks.setting = WebhookSetting(
            url, headers=headers or {}, by_events=by_events, base64=base64, events=events
        )

    def customer(
        self,
        number: str = "5511988880001",
        *,
        name: str = "Maria",
        lid: str | None = None,
        identity: Identity | None = None,
    ) -> Customer:
        """Return the customer with this number; if there is none, a new one.

        With a `lid`, messages have it as their JID and the phone as `remoteJidAlt`, as in 2.3.6,
        unless `identity` says otherwise.
        """
        with self.program.changes.made():
            known = self.find_chat(number)
            if isinstance(known, Customer):
                return known
            customer = Customer(self, number, name, lid, identity)
            if known is not None:  # somebody wrote to them before
                self.chats.remove(known)
                customer.take_over(known)
            return self.add(customer)

    def group(self, jid: str = "120363000000000001@g.us") -> Chat:
        """Return the group with this JID."""
        return self.chat_at(jid)

    def other_client_sends(self, chat: Chat, body: str) -> Delivery:
        """Let another client of the REST API write, such as Chatwoot; returns its send.message."""
        return other_client_sends(self, chat, body)

    def echoes(
        self, chat: Chat, message: Message | None = None, *, identity: Identity | None = None
    ) -> Delivery:
        """Let a send (the latest) come back as a fromMe upsert, as if through another session.

        This works for anything that was sent, also a picture or a reaction. With an `identity` it
        has another address than the one to which it was sent.
        """
        with self.program.changes.lock:
            ours = [each for each in self.sent.values() if each.author == "api"]
        if message is not None:
            return echo(self, chat, self.sent[message.wa_id], identity)
        latest = [each for each in ours if chat.is_at(each.chat.jid)][-1]
        return echo(self, chat, latest, identity)

    def tells_state(self, chat: Chat, message: Message, state: str) -> Delivery:
        """Report a message's state by messages.update, such as ERROR, READ or (Cloud) FAILED."""
        stored = self.store.get(message.wa_id)
        key: Json = stored.data["key"] if stored else chat.key(message.wa_id, from_me=True)
        return tell_state(self, chat, key, state)

    def posts_in_newsletter(self, body: str) -> Delivery:
        """Let a channel that the owner follows post something."""
        return self.newsletter_posts(text(body))

    def story(self) -> str:
        """Return what happened, as text."""
        calls = [f"  {call.endpoint} -> {call.status or 'no answer'}" for call in self.calls_made]
        told = [f"  {delivery!r}" for delivery in self.webhooks.deliveries]
        chats = [chat.story() for chat in self.chats]
        return "\n".join([f"{self.name}, calls:", *calls, "webhooks:", *told[-40:], *chats])
