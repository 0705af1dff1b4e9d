"""The webhooks of one instance: the setting, the deliveries, and what tests do to them."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from loopback.evolution.identifiers import javascript_date
from loopback.evolution.webhooks import Delivery, Json, Route, Wire, sent_headers
from loopback.waiting import Changes

Treatment = Literal["held", "dropped", "repeated", "delayed"]
Chosen = Callable[[Delivery], bool]

ALL_EVENTS = (
    "APPLICATION_STARTUP", "QRCODE_UPDATED", "MESSAGES_SET", "MESSAGES_UPSERT", "MESSAGES_EDITED",
    "MESSAGES_UPDATE", "MESSAGES_DELETE", "SEND_MESSAGE", "SEND_MESSAGE_UPDATE", "CONTACTS_SET",
    "CONTACTS_UPSERT", "CONTACTS_UPDATE", "PRESENCE_UPDATE", "CHATS_SET", "CHATS_UPSERT",
    "CHATS_UPDATE", "CHATS_DELETE", "GROUPS_UPSERT", "GROUP_UPDATE", "GROUP_PARTICIPANTS_UPDATE",
    "CONNECTION_UPDATE", "LABELS_EDIT", "LABELS_ASSOCIATION", "CALL", "TYPEBOT_START",
    "TYPEBOT_CHANGE_STATUS", "REMOVE_INSTANCE", "LOGOUT_INSTANCE", "INSTANCE_CREATE",
    "INSTANCE_DELETE", "STATUS_INSTANCE",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class WebhookSetting:
    """The values given to webhook/set."""

    url: str
    enabled: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    by_events: bool = False
    base64: bool = False
    events: tuple[str, ...] = ALL_EVENTS


@dataclass(slots=True)
class _Rule:
    """A treatment of deliveries: of which events, and how many times."""

    treatment: Treatment
    events: frozenset[str]
    when: Chosen | None
    times: int | None
    seconds: float = 0.0

    def claims(self, delivery: Delivery) -> bool:
        """Return whether the rule applies to a delivery, and count it."""
        if self.times == 0 or (self.events and delivery.event not in self.events):
            return False
        if self.when is not None and not self.when(delivery):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Program(Protocol):
    """What the traffic needs from its program."""

    wire: Wire
    changes: Changes
    global_webhook: str | None

    @property
    def url(self) -> str:
        """The program's own address."""

    def now(self) -> float:
        """Return the time, in seconds since 1970."""

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Run `work` in the program's event loop. Returns False if the program is not running."""


class Traffic:
    """Posts events to the configured address. `deliveries` has every delivery."""

    def __init__(self, program: Program, instance: str) -> None:
        self._program = program
        self._instance = instance
        self._rules: list[_Rule] = []
        self._held: list[Delivery] = []
        self.setting: WebhookSetting | None = None
        self.deliveries: list[Delivery] = []

    def of(self, event: str) -> list[Delivery]:
        """Return the deliveries of one event, such as `send.message`."""
        return [delivery for delivery in self.deliveries if delivery.event == event]

    def hold(self, *events: str, when: Chosen | None = None, times: int | None = None) -> None:
        """Hold these events (none named: all) from now on, until `release`.

        As in the other treatments, `when` chooses among the events, and the treatment ends after
        `times` events. The latest treatment wins.
        """
        self._rule("held", events, when, times)

    def drop(self, *events: str, when: Chosen | None = None, times: int | None = None) -> None:
        """Lose these events (none named: all) from now on; their messages are stored anyway."""
        self._rule("dropped", events, when, times)

    def repeat(
        self,
        *events: str,
        seconds: float = 0.0,
        when: Chosen | None = None,
        times: int | None = None,
    ) -> None:
        """Deliver these events (none named: all) twice from now on, again after `seconds`."""
        self._rule("repeated", events, when, times, seconds)

    def delay(
        self,
        seconds: float,
        *events: str,
        when: Chosen | None = None,
        times: int | None = None,
    ) -> None:
        """Deliver these events (none named: all) late from now on: newer ones overtake them."""
        self._rule("delayed", events, when, times, seconds)

    def release(self, *, newest_first: bool = False) -> list[Delivery]:
        """Stop holding; release what is held, in order or newest first, and return it."""
        self._rules = [rule for rule in self._rules if rule.treatment != "held"]
        held = self._held[::-1] if newest_first else self._held[:]
        for delivery in held:
            delivery.release()
        return held

    def treat_normally(self) -> None:
        """Remove `drop`, `repeat` and `delay`, and release what is held."""
        self.release()
        self._rules.clear()

    def emit(self, event: str, data: Any, envelope: Json, chat: str) -> Delivery:
        """Post an event; its first try waits in the queue of `chat`.

        A global webhook gets it as well; the delivery to the instance's webhook is returned.
        """
        setting = self.setting
        slug = event.replace(".", "-").replace("_", "-")
        destination = setting.url if setting else f"{self._program.global_webhook or ''}/{slug}"
        body = {"event": event, "instance": self._instance, "data": data}
        body |= {
            "destination": destination,
            "date_time": javascript_date(self._program.now()),
        } | envelope
        if self._program.global_webhook:
            self._send(self._program.global_webhook, {}, body, chat)
        name = slug.replace("-", "_").upper()
        if setting is None or not setting.enabled or name not in setting.events:
            return self.untold(event, data)
        url = f"{setting.url}/{slug}" if setting.by_events else setting.url
        headers = sent_headers(setting.headers, self._program.now())
        return self._send(url, headers, body, chat)

    def untold(self, event: str, data: Any = None) -> Delivery:
        """Return a delivery for an event that is not posted: settled at once as `not wanted`."""
        body = {"event": event, "instance": self._instance, "data": data}
        delivery = Delivery(self._program.changes, "", {}, body)
        delivery.tell("not wanted")
        return delivery

    def _send(self, url: str, headers: Mapping[str, str], body: Json, chat: str) -> Delivery:
        delivery = Delivery(self._program.changes, url, headers, body)
        rule = self._claim(delivery)
        treatment = rule.treatment if rule else None
        route = self._route(chat, rule)

        def go() -> None:
            if delivery in self._held:
                self._held.remove(delivery)
            delivery.on_release(lambda: None)
            delivery.tell("under way")
            if not self._program.spawn(lambda: self._program.wire.deliver(delivery, route)):
                delivery.tell("dropped")

        with self._program.changes.made():
            self.deliveries.append(delivery)
            if treatment == "held":
                self._held.append(delivery)
                delivery.on_release(go)
        if treatment in ("held", "dropped"):
            delivery.tell(treatment)
        else:
            go()
        return delivery

    def _route(self, chat: str, rule: _Rule | None) -> Route:
        lane = self._program.wire.lane(chat)
        match rule:
            case _Rule(treatment="delayed"):
                return Route(None, late=rule.seconds)
            case _Rule(treatment="repeated"):
                return Route(lane, again_after=rule.seconds)
        return Route(lane)

    def _claim(self, delivery: Delivery) -> _Rule | None:
        with self._program.changes.lock:
            return next((rule for rule in self._rules if rule.claims(delivery)), None)

    def _rule(
        self,
        treatment: Treatment,
        events: tuple[str, ...],
        when: Chosen | None,
        times: int | None,
        seconds: float = 0.0,
    ) -> None:
        with self._program.changes.lock:
            self._rules.insert(0, _Rule(treatment, frozenset(events), when, times, seconds))
