"""Tenants: to list, read, create and change them."""

import logging
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field, SecretStr
from pydantic.json_schema import SkipJsonSchema

from router.api.dependencies import Caller, PathId, TheDatabase, TheLists, TheSettings
from router.api.queries import LARGEST_ID, AskedSpending, AskedTenants
from router.logs.events import Action, log_event
from router.safety.patterns import check_patterns
from router.state.calls import retention, spending, tenants
from router.state.calls.retention import TenantStats
from router.state.calls.shown import Page
from router.state.calls.spending import Spending
from router.state.calls.tenants import Tenant
from router.tenants import saving
from router.tenants.policy import budgets

router = APIRouter(tags=["tenants"])
_LARGEST = 2**31 - 1
Unset = SkipJsonSchema[None]
"""For what always has a value: it may be left out, and null is refused."""

_log = logging.getLogger(__name__)


class TenantValues(BaseModel, extra="forbid", allow_inf_nan=False, strict=True):
    """What may be set of a tenant: what is left out stays, null brings the default back."""

    instance_name: str | Unset = None
    evo_server_url: str | Unset = Field(default=None, examples=["https://evolution.example.com"])
    evo_api_key: SecretStr | None = Field(
        default=None, description="Written, never read; without it EVOLUTION_API_KEY serves"
    )
    system_prompt: str | None = None
    llm_provider: Literal["anthropic", "openai"] | Unset = None
    llm_api_key: SecretStr | None = Field(
        default=None,
        description="Its own key of llm_provider: written, never read; its replies are then made"
        " without n8n. Without it the deployment's serves",
    )
    llm_model: str | None = None
    llm_max_tokens: int | None = Field(default=None, gt=0, le=_LARGEST)
    is_active: bool | Unset = None
    debounce_seconds: float | None = Field(default=None, ge=0, le=3600)
    resume_after_hours: float | None = Field(default=None, gt=0, le=87_600)
    answer_within_minutes: float | None = Field(default=None, gt=0, le=525_600)
    auto_reply_seconds: Annotated[float, Field(ge=0, le=86_400)] | Unset = Field(
        default=None, description="How long after the customer's message the owner's is automatic"
    )
    other_client_takeover: bool | Unset = None
    answer_groups: bool | Unset = None
    unanswered_kinds: (
        Annotated[list[Annotated[str, Field(max_length=60)]], Field(max_length=50)] | Unset
    ) = Field(default=None, examples=[["sticker"]])
    on_new_message: Literal["queue", "restart"] | Unset = None
    notify_number: str | None = Field(
        default=None,
        examples=["5511955559999"],
        description="Staff to be told by WhatsApp of a handoff: a number or a group's JID; the AI"
        " answers nothing that comes from there",
    )
    notify_url: str | None = Field(
        default=None,
        examples=["https://tickets.example.com/hook"],
        description="A webhook that is told of a handoff and of a lost connection",
    )

    forbidden_patterns: (
        Annotated[list[str], Field(max_length=50), AfterValidator(check_patterns)] | Unset
    ) = Field(
        default=None,
        examples=[["pix", r"\bR\$ ?\d{4,}"]],
        description="Regular expressions (RE2; case does not count) that no reply may match;"
        " so many and so simple that all are looked for in a moment",
    )
    max_reply_characters: int | None = Field(
        default=None,
        gt=0,
        le=_LARGEST,
        description="Beyond MAX_REPLY_CHARACTERS, 100,000 at most count",
    )
    leak_characters: int | None = Field(
        default=None,
        ge=0,
        le=_LARGEST,
        description="Of the system prompt, in one piece, that make a reply a leak",
    )
    moderation_url: str | None = Field(
        default=None, description="A service that is asked whether a reply may be sent"
    )
    on_refused_reply: Literal["handoff", "fallback_message"] | Unset = None
    fallback_message: str | None = Field(
        default=None,
        description="In place of a refused reply; and once a day when a budget is used up",
    )
    n8n_flow: str | None = Field(
        default=None,
        max_length=500,
        examples=["padaria/hybridflow-turn"],
        description="The path of the webhook in n8n of the flow that makes its replies; null:"
        " the deployment's. Needs a key of the deployment",
    )
    n8n_contract: Literal["answer", "gateway"] | None = Field(
        default=None,
        description="answer: that flow answers with what is to be said; gateway: it sends by"
        " itself. null: N8N_CONTRACT. Needs a key of the deployment",
    )
    loop_replies: int | None = Field(
        default=None, ge=0, le=_LARGEST, description="0: no guard against loops"
    )
    loop_minutes: float | None = Field(default=None, gt=0, le=1440)
    daily_turns: int | None = Field(default=None, ge=0, le=_LARGEST)
    daily_tokens: int | None = Field(default=None, ge=0, le=LARGEST_ID)
    contact_daily_turns: int | None = Field(default=None, ge=0, le=_LARGEST)
    contact_daily_tokens: int | None = Field(default=None, ge=0, le=LARGEST_ID)
    webhook_networks: list[Annotated[str, Field(max_length=60)]] | None = Field(
        default=None,
        max_length=50,
        examples=[["203.0.113.0/24"]],
        description="Where its webhooks may come from, within WEBHOOK_NETWORKS; null: anywhere",
    )
    shared_webhook_secret: bool | Unset = Field(
        default=None,
        description="false: EVOLUTION_WEBHOOK_SHARED_SECRET is refused, only its own secrets hold",
    )
    retention_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="Days that messages and turns are kept; null: RETENTION_DAYS, or for ever",
    )
    on_retention: Literal["archive", "delete"] | Unset = Field(
        default=None, description="What becomes of messages that are older; turns are deleted"
    )

    def given(self) -> dict[str, Any]:
        """Return what the request says, ready for the state."""
        values = self.model_dump(exclude_unset=True)
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in values.items()
        }


class NewTenant(TenantValues):
    """A tenant to be created."""

    instance_name: str
    evo_server_url: str = Field(examples=["https://evolution.example.com"])


@router.get("/tenants", summary="List the tenants")
async def list_tenants(query: AskedTenants, database: TheLists) -> Page[Tenant]:
    """In the order of creation."""
    return await tenants.list_tenants(database, tenants.ListTenants(**query.model_dump()))


@router.post("/tenants", status_code=201, summary="Create a tenant")
async def create_tenant(
    tenant: NewTenant, database: TheDatabase, settings: TheSettings, caller: Caller
) -> Tenant:
    """409: another tenant has the instance. 422: which value is wrong, and how."""
    created = await saving.create_tenant(database, settings, tenant.given())
    _say(Action.TENANT_CREATED, "tenant created", created, caller, tenant)
    return created


@router.get("/tenants/{tenant_id}", summary="Read a tenant")
async def get_tenant(tenant_id: PathId, database: TheDatabase) -> Tenant:
    """Say that there is a key of Evolution, never which."""
    return (await tenants.get_tenant(database, tenants.GetTenant(tenant_id=tenant_id))).tenant


@router.patch("/tenants/{tenant_id}", summary="Change a tenant")
async def change_tenant(
    tenant_id: PathId,
    values: TenantValues,
    database: TheDatabase,
    settings: TheSettings,
    caller: Caller,
) -> Tenant:
    """Change what is given and nothing else; it holds from the next message on."""
    changed = await saving.change_tenant(database, settings, tenant_id, values.given())
    _say(Action.TENANT_CHANGED, "tenant changed", changed, caller, values)
    return changed


@router.get("/tenants/{tenant_id}/spending", summary="Read what was spent today")
async def get_spending(
    tenant_id: PathId, query: AskedSpending, database: TheDatabase, settings: TheSettings
) -> Spending:
    """Turns and tokens of this day (UTC), of the tenant or of one session, and what is allowed."""
    asked = spending.GetSpending(
        **query.model_dump(), tenant_id=tenant_id, policy=budgets(settings)
    )
    return await spending.get_spending(database, asked)


@router.get("/tenants/{tenant_id}/stats", summary="Read how much is stored")
async def get_tenant_stats(tenant_id: PathId, database: TheDatabase) -> TenantStats:
    """Count the rows, which takes a while where there are millions; bytes are estimated."""
    asked = retention.GetTenantStats(tenant_id=tenant_id)
    return (await retention.get_tenant_stats(database, asked)).stats


def _say(action: Action, message: str, tenant: Tenant, caller: str, values: TenantValues) -> None:
    log_event(
        _log,
        action,
        message,
        tenant_id=tenant.id,
        instance=tenant.instance_name,
        caller=caller,
        columns=sorted(values.model_fields_set),
    )
