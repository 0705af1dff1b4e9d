"""The plan of one conversation: who does what and when, and what goes wrong; all from the seed."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from loopback.evolution import Identity

T = TypeVar("T")

Moment = Literal["then", "llm", "send", "part", "answered", "refused", "looked"]
"""When a step is taken: `then`, so many seconds after the one before it; while the LLM is asked;
between the fence and the send; after a part is on the phone, before its answer; when a reply is on
the phone; after Evolution has refused a send; when the router looks for a send in doubt."""

Act = Literal[
    "says",
    "edits",
    "deletes",
    "owner",
    "owner_copies",
    "owner_reacts",
    "client",
    "pauses",
    "resumes",
    "operator",
    "erases",
]
Kind = Literal["text", "image", "document", "list", "button", "sticker", "voice"]
Telling = Literal["after", "before", "late", "never", "twice"]
Echo = Literal["none", "before", "after"]

SendTrouble = Literal[
    "none",
    "closed",
    "too_many",
    "cut",
    "taken_then_cut",
    "never_answered",
    "taken_never_answered",
    "broken",
    "taken_then_broken",
    "unreadable",
    "slow_socket",
    "slow_then_closed",
    "slow_answer",
    "timed_out",
    "taken_timed_out",
    "crashed",
    "not_on_whatsapp",
    "beyond",
]
LookTrouble = Literal["none", "broken", "cut", "never_answered", "slow"]
LlmTrouble = Literal["none", "slow", "too_many", "broken", "cut", "never_answered"]
WebhookTrouble = Literal["none", "late", "very_late", "doubled"]

_SEND_WEIGHTS: dict[SendTrouble, float] = {
    "closed": 12,
    "too_many": 5,
    "cut": 8,
    "taken_then_cut": 9,
    "never_answered": 5,
    "taken_never_answered": 7,
    "broken": 5,
    "taken_then_broken": 6,
    "unreadable": 3,
    "slow_socket": 12,
    "slow_then_closed": 3,
    "slow_answer": 5,
    "timed_out": 3,
    "taken_timed_out": 3,
    "crashed": 2,
    "not_on_whatsapp": 0.5,
}
_BEYOND_WEIGHT = 20.0
_LOOK_WEIGHTS: dict[LookTrouble, float] = {"broken": 3, "cut": 2, "never_answered": 2, "slow": 5}
_LLM_WEIGHTS: dict[LlmTrouble, float] = {
    "slow": 6,
    "too_many": 3,
    "broken": 3,
    "cut": 2,
    "never_answered": 1,
}
_TELLINGS: dict[Telling, float] = {"after": 64, "before": 15, "late": 10, "never": 7, "twice": 4}
_ECHOES: dict[Echo, float] = {"none": 88, "before": 8, "after": 4}
_IDENTITIES: dict[Identity, float] = {
    "pn": 60,
    "lid_with_pn": 15,
    "pn_with_lid": 5,
    "lid": 20,
}
_MESSAGES: dict[int, float] = {1: 30, 2: 30, 3: 20, 4: 10, 5: 6, 6: 4}
_KINDS: dict[Kind, float] = {
    "text": 84,
    "image": 5,
    "document": 2,
    "list": 3,
    "button": 3,
    "sticker": 2,
    "voice": 1,
}
_PARTS: dict[int, float] = {1: 74, 2: 15, 3: 11}
_MOST_TROUBLES = 3


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a person, `seconds` after its moment; `identity`: which address they use."""

    moment: Moment
    act: Act
    seconds: float = 0.0
    kind: Kind = "text"
    identity: Identity | None = None

    def __str__(self) -> str:
        what = self.act if self.kind == "text" else f"{self.act} ({self.kind})"
        shown = "" if self.identity is None else f" as {self.identity}"
        return f"{self.moment} +{self.seconds:.2f} s: {what}{shown}"


@dataclass(frozen=True, slots=True)
class SendFate:
    """The fate of one send; `seconds` is a share (0 to 1) of the trouble's longest duration."""

    trouble: SendTrouble = "none"
    share: float = 0.0
    telling: Telling = "after"
    echo: Echo = "none"


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one conversation."""

    seed: int
    number: int
    tenant: int
    phone: str
    lid: str | None
    identity: Identity
    steps: tuple[Step, ...]
    beyond: bool = False
    drawn_as: int | None = None
    """The number from which faults are drawn, if it is not the conversation's own."""

    def story(self) -> str:
        """Return the plan as text."""
        head = f"plan of {self.seed}-{self.number}: tenant {self.tenant}, {self.phone}"
        return "\n".join([f"{head}, {self.identity}", *(f"  {step}" for step in self.steps)])


@dataclass(slots=True)
class Fates:
    """The faults of one conversation, drawn when they are needed, always in the same order."""

    plan: Plan
    _sends: random.Random = field(init=False)
    _looks: random.Random = field(init=False)
    _llm: random.Random = field(init=False)
    _webhooks: random.Random = field(init=False)
    _left: dict[str, int] = field(init=False)
    _in_a_row: list[SendFate] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start each series of draws."""
        drawn_as = self.plan.number if self.plan.drawn_as is None else self.plan.drawn_as
        name = f"{self.plan.seed}-{drawn_as}"
        self._sends = random.Random(f"{name}-sends")
        self._looks = random.Random(f"{name}-looks")
        self._llm = random.Random(f"{name}-llm")
        self._webhooks = random.Random(f"{name}-webhooks")
        self._left = {"sends": _MOST_TROUBLES, "looks": 2, "llm": 2}
        if any(step.moment == "refused" for step in self.plan.steps):
            self._in_a_row = [SendFate("closed")] * 2

    def send(self) -> SendFate:
        """Return the fate of the next send."""
        if self._in_a_row:
            return self._in_a_row.pop()
        rng = self._sends
        telling, echo = _drawn(rng, _TELLINGS), _drawn(rng, _ECHOES)
        share, strikes = rng.random(), rng.random() < 0.3
        weights = _SEND_WEIGHTS | ({"beyond": _BEYOND_WEIGHT} if self.plan.beyond else {})
        trouble, repeats = _drawn(rng, weights), rng.choice((0, 0, 1, 2))
        if not strikes or not self._spend("sends"):
            trouble = "none"
        fate = SendFate(trouble, share, telling, echo)
        if trouble in ("closed", "too_many"):
            self._in_a_row = [fate] * repeats
        return fate

    def look(self) -> tuple[LookTrouble, float]:
        """Return the fate of the next findMessages."""
        rng = self._looks
        strikes, trouble, share = rng.random() < 0.2, _drawn(rng, _LOOK_WEIGHTS), rng.random()
        return (trouble, share) if strikes and self._spend("looks") else ("none", share)

    def answer(self) -> tuple[LlmTrouble, float, int]:
        """Return the fate of the next request to the LLM, and the number of parts of its answer."""
        rng = self._llm
        strikes, trouble, share = rng.random() < 0.12, _drawn(rng, _LLM_WEIGHTS), rng.random()
        parts = _drawn(rng, _PARTS)
        if not strikes or not self._spend("llm"):
            trouble = "none"
        return trouble, share, parts

    def webhook(self) -> tuple[WebhookTrouble, float, int]:
        """Return the fate of the next webhook: its trouble, a share, and the first router."""
        rng = self._webhooks
        weights: dict[WebhookTrouble, float] = {
            "none": 78,
            "late": 10,
            "very_late": 3,
            "doubled": 9,
        }
        return _drawn(rng, weights), rng.random(), rng.randrange(2)

    def _spend(self, what: str) -> bool:
        self._left[what] -= 1
        return self._left[what] >= 0


def make_plan(seed: int, number: int, *, tenants: int, beyond: bool = False) -> Plan:
    """Return the plan of one conversation."""
    rng = random.Random(f"{seed}-{number}")
    # Every eighth is by the same person as the one before, at another tenant; they must never mix.
    person = number - 1 if number % 8 == 7 else number
    tenant = random.Random(f"{seed}-{person}-tenant").randrange(tenants)
    tenant = tenant if person == number else (tenant + 1) % tenants
    identity = _drawn(rng, _IDENTITIES)
    return Plan(
        seed=seed,
        number=number,
        tenant=tenant,
        phone=f"551197{person:07}",
        lid=None if identity == "pn" else f"20199{person:08}",
        identity=identity,
        steps=tuple(_steps(rng, identity)),
        beyond=beyond,
    )


def _steps(rng: random.Random, identity: Identity) -> Iterable[Step]:
    messages = _drawn(rng, _MESSAGES)
    links = (
        identity == "lid"
    )  # first only the LID, then only the phone, later both, which links them
    if links:
        messages = max(messages, rng.choice((2, 3, 3)))
    if rng.random() < 0.06:
        yield Step("then", "owner")
        yield from _perhaps_resumes(rng, 0.8)
    erased_after = rng.randrange(messages) if rng.random() < 0.05 else None
    for place in range(messages):
        yield _message(rng, place, messages, links=links)
        if place == erased_after:
            yield Step(_drawn(rng, _MOMENTS_OF_PEOPLE), "erases", rng.uniform(0, 0.35))
        if rng.random() < 0.06:
            yield Step(_drawn(rng, _MOMENTS_OF_CHANGES), "edits", rng.uniform(0, 0.4))
        elif rng.random() < 0.05:
            yield Step(_drawn(rng, _MOMENTS_OF_CHANGES), "deletes", rng.uniform(0, 0.4))
        if rng.random() < 0.3:
            yield from _interference(rng)


_MOMENTS_OF_CHANGES: dict[Moment, float] = {"then": 5, "llm": 2, "answered": 2}
_MOMENTS_OF_PEOPLE: dict[Moment, float] = {
    "then": 4,
    "llm": 4,
    "send": 4,
    "part": 4,
    "answered": 5,
    "looked": 2,
}
_ACTS: dict[Act, float] = {
    "owner": 40,
    "pauses": 32,
    "client": 10,
    "owner_copies": 8,
    "owner_reacts": 10,
    "operator": 25,
}


def _message(rng: random.Random, place: int, messages: int, *, links: bool) -> Step:
    kind = _drawn(rng, _KINDS)
    told: Identity | None = None
    if links:
        told = "lid" if place == 0 else "lid_with_pn" if place == messages - 1 else "pn"
    if place == 0:
        return Step("then", "says", rng.uniform(0, 0.5), kind, told)
    moments: dict[Moment, float] = {
        "then": 5, "llm": 4, "send": 2, "part": 2, "answered": 5, "refused": 1.5, "looked": 1
    }  # fmt: skip
    moment = _drawn(rng, moments)
    quick = rng.random() < 0.5
    pause = rng.uniform(0.02, 0.25) if quick or moment != "then" else rng.uniform(0.4, 2.0)
    return Step(moment, "says", pause if moment in ("then", "answered") else 0.0, kind, told)


def _interference(rng: random.Random) -> Iterable[Step]:
    act = _drawn(rng, _ACTS)
    if act == "owner_copies":
        yield Step("refused", act)
        yield from _perhaps_resumes(rng, 0.5)
        return
    moment = _drawn(rng, _MOMENTS_OF_PEOPLE)
    pause = rng.uniform(0, 0.35) if moment in ("then", "answered") else 0.0
    yield Step(moment, act, pause)
    if act == "owner_reacts":
        return
    if act == "pauses" and rng.random() < 0.15:
        yield Step("then", "owner", rng.uniform(0, 0.5))
    yield from _perhaps_resumes(rng, 0.75)


def _perhaps_resumes(rng: random.Random, likely: float) -> Iterable[Step]:
    if rng.random() < likely:
        quick = rng.random() < 0.4
        yield Step("then", "resumes", rng.uniform(0, 0.2) if quick else rng.uniform(0.5, 2.5))


def _drawn(rng: random.Random, weights: Mapping[T, float]) -> T:
    return rng.choices(list(weights), list(weights.values()))[0]
