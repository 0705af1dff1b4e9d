"""Makes what works on turns, from the configuration."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from router.configuration.settings import Settings
from router.llm.reach import Reach
from router.people.hashing import ContactHashes
from router.replies.making import ReplyMaker
from router.replies.prompt import PromptRules
from router.safety.budget import Budget
from router.safety.guard import ReplyGuard
from router.sending.courtesy import Courtesy
from router.sending.opening import Sending
from router.state.database import Database
from router.tenants.instance import InstanceKeys
from router.tenants.policy import policy
from router.turns.attempt import TurnAttempt
from router.turns.dispatcher import ClaimLimits, Dispatcher
from router.turns.in_hand import AttemptRules, Workshop
from router.turns.line import Lines
from router.turns.media import PartMedia
from router.turns.own_files import OwnFiles
from router.turns.saying import Pace
from router.turns.settling import Settling
from router.turns.voices import Voices


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools that make, check and send replies; other rooms create them."""

    sending: Sending
    maker: ReplyMaker
    guard: ReplyGuard
    budget: Budget
    courtesy: Courtesy
    lines: Lines
    media: PartMedia
    files: OwnFiles
    voices: Voices
    wake_notices: Callable[[], None]


def make_dispatcher(
    settings: Settings,
    database: Database,
    tools: Tools,
    calls_as: str | None,
    is_elsewhere: Callable[[int], bool],
) -> Dispatcher:
    """Return the dispatcher, not yet running. `calls_as`: see ClaimLimits."""
    sending = tools.sending
    workshop = Workshop(
        database=database,
        maker=tools.maker,
        courtesy=tools.courtesy,
        guard=tools.guard,
        budget=tools.budget,
        outbox=sending.outbox,
        lines=tools.lines,
        keys=InstanceKeys.of(settings),
        settling=Settling(database, sending.looking, sending.late, policy(settings)),
        hashes=ContactHashes.of(settings.secrets_key, settings.webhook_secrets),
        reach=Reach(),
        media=tools.media,
        files=tools.files,
        voices=tools.voices,
        wake_notices=tools.wake_notices,
        rules=AttemptRules(
            prompt=PromptRules(
                settings.default_system_prompt,
                settings.prompt_token_budget,
                settings.default_timezone,
            ),
            max_tokens=settings.llm_max_tokens,
            make_timeout=settings.making_seconds,
            max_attempts=settings.turn_max_attempts,
            retry_base=settings.retry_base_seconds,
            answer_within_minutes=settings.answer_within_minutes,
            pace=Pace(
                settings.typing_speed if settings.typing_seconds else 0,
                settings.typing_most_seconds,
            ),
        ),
    )
    limits = ClaimLimits(
        parallel=settings.max_concurrent_turns,
        lease=settings.turn_lease_seconds,
        max_attempts=settings.turn_max_attempts,
        history=settings.history_messages,
        poll=settings.poll_seconds,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        tenant_share=settings.tenant_share,
        flows=settings.n8n_max_in_flight if settings.n8n_enabled else None,
        answer_within_minutes=settings.answer_within_minutes,
        calls_as=calls_as,
    )
    return Dispatcher(
        database, limits, lambda turn, seat: TurnAttempt(turn, workshop, seat), is_elsewhere
    )
