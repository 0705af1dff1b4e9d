"""Makes the services for media jobs, from the configuration."""

import os
from collections.abc import Callable, Mapping

from router.configuration.settings import Settings
from router.evolution.client import EvolutionClient
from router.http.bodies import Bodies
from router.kept.keeping import Keeping
from router.llm.provider import LlmProvider
from router.senses.attempt import MediaAttempt, Senses
from router.senses.decoding import Decoder
from router.senses.hearing import Listener
from router.senses.local_engine import LocalEngine, without_secrets
from router.senses.seeing import Describer
from router.senses.transcriptions import Transcriptions
from router.senses.understander import JobLimits, Understander
from router.state.database import Database
from router.tenants.instance import InstanceKeys
from router.tenants.policy import budgets, policy

_PARALLEL = 8
_ATTEMPTS = 4
_LEASE = 12.0  # seconds; the attempt renews it


def make_listener(settings: Settings) -> Listener | None:
    """Return the speech recognition, not loaded yet, or None if there is none."""
    if not settings.hears:
        return None
    if settings.stt_local_model is not None:
        environment = without_secrets(os.environ)
        return LocalEngine(settings.stt_local_model, settings.stt_timeout, environment)
    return Transcriptions(
        settings.stt_base_url, settings.stt_api_key, settings.stt_model, settings.stt_timeout
    )


def make_describer(settings: Settings, providers: Mapping[str, LlmProvider]) -> Describer | None:
    """Return the service that describes pictures; None if the LLM that answers gets them itself."""
    provider = providers[settings.llm_provider]
    return Describer(provider) if settings.n8n_enabled and provider.has_key else None


def make_understander(
    settings: Settings,
    database: Database,
    evolution: EvolutionClient,
    listener: Listener | None,
    describer: Describer | None,
    keeping: Keeping | None,
    bodies: Bodies,
    wake_turns: Callable[[float], None],
) -> Understander:
    """Return the loop, not running yet. `evolution` has its own pool."""
    senses = Senses(
        database=database,
        evolution=evolution,
        keys=InstanceKeys.of(settings),
        listener=listener,
        decoder=Decoder(),
        describer=describer,
        keeping=keeping,
        bodies=bodies,
        budgets=budgets(settings),
        policy=policy(settings),
        most_bytes=settings.max_media_bytes,
        lease=_LEASE,
        max_attempts=_ATTEMPTS,
        retry_base=settings.retry_base_seconds,
        wake_turns=wake_turns,
    )
    limits = JobLimits(
        parallel=_PARALLEL,
        lease=_LEASE,
        max_attempts=_ATTEMPTS,
        poll=settings.poll_seconds,
    )
    return Understander(database, limits, lambda job: MediaAttempt(job, senses))
