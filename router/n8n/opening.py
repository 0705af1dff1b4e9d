"""Makes the services that use n8n, from the configuration."""

import httpx
from pydantic import SecretStr

from router.configuration.settings import Settings
from router.n8n.addresses import editor_url, public_api
from router.n8n.executions import ExecutionEraser, ExecutionsApi
from router.n8n.flows import FlowRules
from router.n8n.handler import N8nHandler
from router.n8n.notice_flows import NoticeFlows, NoticeTerms
from router.n8n.payload import FlowTerms
from router.n8n.trial import FlowTrial
from router.notices.opening import LEASE
from router.replies.making import StandIn
from router.replies.prompt import PromptRules
from router.senses.sounds import Sounds
from router.state.database import Database


def make_handler(
    settings: Settings,
    http: httpx.AsyncClient,
    database: Database,
    fallback: StandIn,
) -> N8nHandler:
    """Return the handler that gives turns to n8n; `fallback` takes them while n8n is away."""
    return N8nHandler(http, database, _rules(settings), fallback)


def make_trial(settings: Settings, http: httpx.AsyncClient, sounds: Sounds) -> FlowTrial:
    """Return the service that tries flows with test turns."""
    prompt = PromptRules(
        settings.default_system_prompt, settings.prompt_token_budget, settings.default_timezone
    )
    return FlowTrial(http, _rules(settings), prompt, sounds)


def _rules(settings: Settings) -> FlowRules:
    own_url = f"http://localhost:{settings.api_port}"
    return FlowRules(
        webhooks_url=settings.n8n_webhook_url or "",
        api_key=settings.n8n_api_key or SecretStr(""),
        terms=FlowTerms(
            base_url=settings.n8n_router_url or settings.public_url or own_url,
            lease=settings.n8n_lease_seconds,
            models={"anthropic": settings.anthropic_model, "openai": settings.openai_model},
            max_tokens=settings.llm_max_tokens,
            timezone=settings.default_timezone,
            answer=settings.n8n_answer_seconds,
            addresses={
                name: url
                for name, url in (
                    ("anthropic", settings.anthropic_base_url),
                    ("openai", settings.openai_base_url),
                )
                if url is not None
            },
        ),
        wait_for_n8n=settings.n8n_fallback == "queue",
        probe_seconds=settings.n8n_probe_seconds,
        contract=settings.n8n_contract,
        attempt_lease=settings.turn_lease_seconds,
        flow_failures=settings.n8n_flow_failures,
        editor_url=editor_url(settings),
        at_once=settings.n8n_max_in_flight,
    )


def make_notice_flows(settings: Settings, http: httpx.AsyncClient, n8n: N8nHandler) -> NoticeFlows:
    """Return the service that gives notices to n8n; `n8n` knows whether n8n is there."""
    own_url = f"http://localhost:{settings.api_port}"
    terms = NoticeTerms(
        webhooks_url=settings.n8n_webhook_url or "",
        api_key=settings.n8n_api_key or SecretStr(""),
        router_url=settings.n8n_router_url or settings.public_url or own_url,
        lease=LEASE,
    )
    return NoticeFlows(http, n8n, terms)


def make_eraser(settings: Settings, database: Database, http: httpx.AsyncClient) -> ExecutionEraser:
    """Return the loop that deletes erased people's executions in n8n; it is not running yet."""
    webhooks = settings.n8n_webhook_url or f"http://localhost:{settings.n8n_port}/webhook"
    url = settings.n8n_public_api_url or public_api(webhooks)
    return ExecutionEraser(database, http, ExecutionsApi(url, settings.n8n_public_api_key))
