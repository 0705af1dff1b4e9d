"""The one place that every reply passes before it is sent, from either handler.

A refused reply becomes a handoff, or the tenant's fallback message: the state decides which.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from router.logs.events import Action, log_event
from router.safety.judgement import Objection, judge_reply
from router.safety.moderation import Moderation, ModerationAway
from router.safety.rules import ReplyDefaults
from router.sharing.bench import Bench
from router.state.calls.claimed_turn import ReplyRules
from router.state.calls.model import Cost, Held, Refusal
from router.state.calls.safety import RefuseReply, refuse_reply
from router.state.database import Database

_log = logging.getLogger(__name__)
_LONG = 20_000  # characters of reply and prompt; less, without patterns, needs no thread
_PATIENCE = 30.0  # seconds that a reply waits while others of its tenant are judged
_THREADS = ThreadPoolExecutor(2, "a reply's judgement")


async def _nothing_more() -> None:
    """The default: nothing is checked, because the caller passes the fence afterwards."""


class ReplyRefused(Exception):
    """The reply was not sent. `reason`: 'reply_refused', or why the attempt may no longer act."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Speaker:
    """For which tenant and session something is said, and by which attempt (`held`)."""

    held: Held
    tenant_id: int
    instance_name: str
    session_id: int
    system_prompt: str | None
    rules: ReplyRules
    facts: str | None = None
    people_noted: tuple[str, ...] = ()
    contact_wrote: str = field(default="", repr=False)
    """What the turn answers, if there are notes about the contact."""
    handoff_message: str | None = None
    """What the customer is told if the refusal becomes a handoff; None: nothing."""


class ReplyGuard:
    """Checks replies; `wake_notices` is called when one has become a handoff."""

    def __init__(
        self,
        database: Database,
        moderation: Moderation,
        defaults: ReplyDefaults,
        *,
        wake_notices: Callable[[], None],
    ) -> None:
        self._database = database
        self._moderation = moderation
        self._defaults = defaults
        self._wake_notices = wake_notices
        self._bench = Bench(_PATIENCE, _THREADS)

    async def check(
        self,
        speaker: Speaker,
        text: str,
        *,
        said: str = "",
        cost: Cost | None = None,
    ) -> None:
        """Return if the text may be sent after what was already `said`. Raises ReplyRefused.

        After ReplyRefused the turn is closed, or its fallback message stored; `cost` is counted.
        """
        objection = await self._judge(speaker, said, text) or await self._moderate(speaker, text)
        if objection is not None:
            raise ReplyRefused(await self._refuse(speaker, objection, cost or Cost()))

    async def check_again(self, speaker: Speaker, text: str, *, said: str) -> None:
        """Return if a checked text may still be sent, now that more was `said`.

        Raises ReplyRefused. The moderation service is not asked again about the same text.
        """
        objection = await self._judge(speaker, said, text)
        if objection is not None:
            raise ReplyRefused(await self._refuse(speaker, objection, Cost()))

    async def declined(self, speaker: Speaker, why: str) -> None:
        """Handle the model's refusal to answer like a reply that may not be sent.

        Raises ReplyRefused.
        """
        objection = Objection("model_refused", why)
        raise ReplyRefused(await self._refuse(speaker, objection, Cost()))

    async def _judge(self, speaker: Speaker, said: str, text: str) -> Objection | None:
        """Judge `said` and `text` together, in a thread if that may take long.

        In threads, a tenant's replies are judged one at a time. A reply that waits too long for
        that is refused.
        """
        whole = "\n\n".join(each for each in (said, text) if each)
        question = (
            whole, speaker.system_prompt, speaker.rules, self._defaults, speaker.facts,
            speaker.people_noted, speaker.contact_wrote,
        )  # fmt: skip
        prompt = speaker.system_prompt or self._defaults.system_prompt
        more = (speaker.facts or "", speaker.contact_wrote, *speaker.people_noted)
        size = len(whole) + len(prompt) + sum(map(len, more))
        if not speaker.rules.forbidden_patterns and size < _LONG:
            return judge_reply(*question)
        try:
            return await self._bench.do(
                speaker.tenant_id, lambda: judge_reply(*question), after_waiting=_nothing_more
            )
        except TimeoutError:
            detail = "the tenant's other replies take too long: make its patterns simpler"
            return Objection("forbidden_pattern", detail)

    async def _moderate(self, speaker: Speaker, text: str) -> Objection | None:
        about = {
            "tenant_id": speaker.tenant_id,
            "instance_name": speaker.instance_name,
            "session_id": speaker.session_id,
            "turn_id": speaker.held["turn_id"],
        }
        try:
            reason = await self._moderation.objects(speaker.rules.moderation_url, text, about)
        except ModerationAway as error:
            log_event(
                _log, Action.MODERATION_AWAY, str(error), level=logging.WARNING, **about
            )  # fmt: skip
            if self._moderation.rules.fail_open:
                return None
            return Objection("moderation_away", str(error))
        return None if reason is None else Objection("moderation", reason)

    async def _refuse(self, speaker: Speaker, objection: Objection, cost: Cost) -> str:
        asked = RefuseReply(
            **speaker.held,
            **cost,
            rule=objection.rule,
            detail=objection.detail,
            say=speaker.handoff_message,
        )
        answer = await refuse_reply(self._database, asked)
        if isinstance(answer, Refusal):
            return answer.refused
        log_event(
            _log,
            Action.REPLY_REFUSED,
            f"the reply was not sent: {objection.rule}",
            level=logging.WARNING,
            tenant_id=speaker.tenant_id,
            session_id=speaker.session_id,
            turn_id=speaker.held["turn_id"],
            rule=objection.rule,
            outcome=answer.outcome,
        )
        if answer.outcome == "handoff":
            self._wake_notices()
        return "reply_refused"
