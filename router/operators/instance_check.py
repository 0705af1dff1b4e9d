"""The instance test: the whole way from a customer's message to the reply, step by step.

What cannot be looked at because a step before it failed is left out; what does not hang on
Evolution (the database, the LLM provider) is looked at in any case.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from router.configuration.advice import weakness
from router.errors import DatabaseAway, NotFound
from router.evolution.client import EvolutionClient
from router.evolution.errors import AddressNotAllowed, EvolutionError, EvolutionRefused
from router.operators.evolution_bots import enabled_bots
from router.operators.models import CheckStep, InstanceCheck
from router.operators.webhook_check import judge_webhook, webhook_url, webhook_warnings
from router.settings import Settings
from router.state.database import Database
from router.tenant_instance import InstanceKeys, TenantInstance, find_instance

_TRIAL_EVENT = "hybridflow.test"
_PATIENCE = 10.0  # seconds for the trial event


@dataclass(slots=True)
class _Findings:
    steps: list[CheckStep] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def ok(self, step: str, detail: str) -> None:
        self.steps.append(CheckStep(step=step, ok=True, detail=detail))

    def failed(self, step: str, detail: str, cure: str) -> None:
        self.steps.append(CheckStep(step=step, ok=False, detail=detail, cure=cure))

    def result(self) -> InstanceCheck:
        failed = next((step.step for step in self.steps if not step.ok), None)
        return InstanceCheck(
            ok=failed is None, failed=failed, steps=self.steps, warnings=self.warnings
        )


@dataclass(frozen=True, slots=True)
class InstanceTest:
    """Tests instances; `http` asks Evolution what the client has no call for."""

    database: Database
    evolution: EvolutionClient
    settings: Settings
    http: httpx.AsyncClient

    async def run(self, name: str, *, trial: bool) -> InstanceCheck:
        """Check the instance `name`; with `trial`, also send an event through PUBLIC_URL."""
        found = _Findings()
        tenant = await self._find_tenant(name, found)
        if tenant is not None:
            await self._check_evolution(tenant, found)
        if trial:
            await self._try_webhook(name, tenant, found)
        if tenant is not None and tenant.has_llm_key:
            found.ok("llm", f"{tenant.llm_provider} is configured, with a key of the tenant's own")
        else:
            self._check_llm(tenant.llm_provider if tenant else self.settings.llm_provider, found)
        return found.result()

    async def _find_tenant(self, name: str, found: _Findings) -> TenantInstance | None:
        try:
            tenant = await find_instance(self.database, name, InstanceKeys.of(self.settings))
        except DatabaseAway as error:
            found.failed("database", str(error), "start the database, or correct its address")
            return None
        except NotFound:
            found.ok("database", "it answers")
            cure = f"add it: `python -m scripts.tenant add {name} --server URL --key KEY`"
            found.failed("tenant", f"no tenant has the instance {name}", cure)
            return None
        except EvolutionRefused as error:
            found.ok("database", "it answers")
            cure = f"put the key back into SECRETS_KEY, or set evo_api_key of {name} again"
            found.failed("tenant", str(error), cure)
            return None
        found.ok("database", "it answers")
        found.ok("tenant", f"tenant {tenant.tenant_id}")
        if not tenant.is_active:
            found.warnings.append("the tenant is not active: messages are recorded, not answered")
        if tenant.key is not None and (fault := weakness(tenant.key)):
            found.warnings.append(f"the key of Evolution {fault}")
        if tenant.failures is not None:
            found.warnings.append(tenant.failures.warning(datetime.now(UTC)))
        return tenant

    async def _check_evolution(self, tenant: TenantInstance, found: _Findings) -> None:
        try:
            instance = tenant.reachable()
            state = await self.evolution.connection_state(instance)
        except AddressNotAllowed as error:
            cure = "correct the tenant's evo_server_url, or name its host in ALLOWED_NETWORKS"
            found.failed("evolution", str(error), cure)
            return
        except EvolutionRefused as error:
            _say_refusal(tenant, error, found)
            return
        except EvolutionError as error:
            cure = f"start Evolution, or correct the tenant's evo_server_url ({tenant.server_url})"
            found.failed("evolution", f"it does not answer: {error}", cure)
            return
        found.ok("evolution", f"{tenant.server_url} answers")
        found.ok("instance", "the key is accepted, the instance exists")
        if state == "open":
            found.ok("connection", "the phone is connected")
        else:
            cure = f"scan the QR code: `python -m scripts.tenant connect {tenant.name}`"
            found.failed("connection", f"the connection is {state}, not open", cure)
        try:
            webhook = await self.evolution.find_webhook(instance)
        except EvolutionError as error:
            cure = f"run `python -m scripts.tenant connect {tenant.name}`"
            found.failed("webhook", f"Evolution does not show its webhook: {error}", cure)
        else:
            found.steps += judge_webhook(
                webhook,
                tenant.name,
                self.settings.public_url,
                self.settings.webhook_secrets if tenant.shared_webhook_secret else (),
                tenant.webhook_hashes,
            )
            found.warnings += webhook_warnings(webhook)
        bots = await enabled_bots(self.http, instance)
        found.warnings += [
            f"Evolution's own {bot} bot is on for this instance and will answer, too: turn it off"
            for bot in bots
        ]

    async def _try_webhook(
        self, name: str, tenant: TenantInstance | None, found: _Findings
    ) -> None:
        """Post an event that is ignored, the way Evolution would."""
        if tenant is not None and not tenant.shared_webhook_secret:
            found.warnings.append(
                "no trial event was sent: the tenant takes only secrets of its own, and only their"
                " hashes are kept"
            )
            return
        if self.settings.public_url is None or not self.settings.webhook_secrets:
            found.warnings.append(
                "no trial event was sent: PUBLIC_URL and EVOLUTION_WEBHOOK_SHARED_SECRET are needed"
            )
            return
        url = webhook_url(self.settings.public_url, name)
        secret = self.settings.webhook_secrets[0].get_secret_value()
        cure = "PUBLIC_URL must lead to this router from where Evolution runs"
        try:
            async with httpx.AsyncClient(timeout=_PATIENCE) as own:  # our address, not a tenant's
                answer = await own.post(
                    url,
                    json={"event": _TRIAL_EVENT, "instance": name, "data": {}},
                    headers={"X-Webhook-Secret": secret},
                )
        except httpx.HTTPError as error:
            found.failed("trial", f"{url} cannot be reached: {error!r}", cure)
            return
        if answer.status_code != 200 or _TRIAL_EVENT not in answer.text:
            found.failed("trial", f"{url} answered {answer.status_code}, not as we do", cure)
            return
        found.ok("trial", f"an event sent to {url} arrived")

    def _check_llm(self, provider: str, found: _Findings) -> None:
        keys = {
            "anthropic": self.settings.anthropic_api_key,
            "openai": self.settings.openai_api_key,
        }
        if keys.get(provider) is None:
            found.failed("llm", f"no key for {provider}", f"set {provider.upper()}_API_KEY")
        else:
            found.ok("llm", f"{provider} is configured")


def _say_refusal(tenant: TenantInstance, error: EvolutionRefused, found: _Findings) -> None:
    if "EVOLUTION_SERVERS" in str(error):  # nothing was asked
        cure = "set EVOLUTION_SERVERS for the router, or correct the tenant's evo_server_url or key"
        found.failed("instance", str(error), cure)
        return
    cure = f"correct the key: `python -m scripts.tenant set {tenant.name} evo_api_key=-`"
    if str(error).startswith("404"):
        cure = f"create the instance {tenant.name} in Evolution, or correct instance_name"
    if tenant.key is not None:
        found.ok("evolution", f"{tenant.server_url} answers")
    found.failed("instance", str(error), cure)
