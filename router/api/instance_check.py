"""The instance test: it checks the whole way from a customer's message to the reply.

Steps that depend on a failed step are skipped. Steps that do not depend on Evolution (the database,
the LLM provider) are always checked.
"""

from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx

from router.api.models import CheckStep, InstanceCheck
from router.api.round_trip import NotTried, RoundTrip
from router.api.webhook_check import judge_webhook, webhook_warnings
from router.configuration.advice import weakness
from router.configuration.settings import Settings
from router.errors import DatabaseAway, NotFound, TooManyOfThese
from router.evolution.bots import enabled_bots
from router.evolution.client import EvolutionClient
from router.evolution.errors import AddressNotAllowed, EvolutionError, EvolutionRefused
from router.http.accounts import say_account
from router.llm.errors import LlmMisconfigured
from router.llm.looks import Looks
from router.notices.outages import why
from router.replies.llm_keys import LlmKeys
from router.sharing.at_once import AtOnce, TooManyAtOnce
from router.state.database import Database
from router.tenants.instance import InstanceKeys, TenantInstance, find_instance
from router.tenants.sealing import Vault


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
    """Tests instances.

    `http`, the client for tenants' URLs, posts the probe, and makes requests to Evolution that the
    Evolution client lacks. `at_once` limits the tests of each tenant, whose Evolution may be slow.
    """

    database: Database
    evolution: EvolutionClient
    settings: Settings
    http: httpx.AsyncClient
    at_once: AtOnce
    looks: Looks

    async def run(self, name: str, *, trial: bool) -> InstanceCheck:
        """Check the instance `name`; with `trial`, also send a probe through PUBLIC_URL.

        Raises TooManyOfThese.
        """
        found = _Findings()
        tenant = await self._find_tenant(name, found)
        try:
            with self.at_once.taken(name if tenant is None else tenant.tenant_id):
                return await self._run(name, tenant, found, trial=trial)
        except TooManyAtOnce as error:
            raise TooManyOfThese(
                f"{name} is being tested {self.at_once.most} times already: wait for the answers"
            ) from error

    async def _run(
        self, name: str, tenant: TenantInstance | None, found: _Findings, *, trial: bool
    ) -> InstanceCheck:
        if tenant is not None:
            await self._check_evolution(tenant, found)
        if trial:
            await self._try_webhook(name, tenant, found)
        await self._check_llm(tenant, found)
        return found.result()

    async def _find_tenant(self, name: str, found: _Findings) -> TenantInstance | None:
        try:
            tenant = await find_instance(self.database, name, InstanceKeys.of(self.settings))
        except DatabaseAway as error:
            found.failed("database", str(error), "start the database, or correct its URL")
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
        for outage in tenant.outages:
            since = f"{outage.began_at:%Y-%m-%d %H:%M} UTC"
            found.warnings.append(f"customers get no answer since {since}: {why(outage)}")
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
            judged = judge_webhook(
                webhook,
                tenant.name,
                self.settings.public_url,
                self.settings.webhook_secrets if tenant.shared_webhook_secret else (),
                tenant.webhook_hashes,
            )
            found.steps += judged
            found.warnings += webhook_warnings(webhook)
            if webhook is not None and all(step.ok for step in judged):
                await _note(self._round_trip.by_evolution(webhook, tenant.name), found)
            _say_last_event(tenant, found, is_open=state == "open")
        bots = await enabled_bots(self.http, instance)
        found.warnings += [
            f"Evolution's own {bot} bot is on for this instance and will answer, too: turn it off"
            for bot in bots
        ]

    async def _try_webhook(
        self, name: str, tenant: TenantInstance | None, found: _Findings
    ) -> None:
        if tenant is None:
            found.warnings.append("no trial event was sent: no tenant has this instance")
        elif not tenant.shared_webhook_secret:
            found.warnings.append(
                "no trial event was sent: the tenant accepts only its own secrets, and only their"
                " hashes are stored"
            )
        else:
            await _note(self._round_trip.by_public_url(name), found)

    @property
    def _round_trip(self) -> RoundTrip:
        return RoundTrip(self.database, self.settings, self.http)

    async def _check_llm(self, tenant: TenantInstance | None, found: _Findings) -> None:
        provider = self.settings.llm_provider if tenant is None else tenant.llm_provider
        variable = f"{provider.upper()}_API_KEY"
        key = None
        if tenant is not None and tenant.has_llm_key:
            variable = "the tenant's llm_api_key"
            try:
                keys = LlmKeys(Vault(self.settings.secrets_key))
                key = keys.of_tenant(tenant.tenant_id, tenant.llm_key)
            except LlmMisconfigured as error:
                found.failed("llm", str(error), f"set {variable} again")
                return
        elif not self.looks.has_key(provider):
            found.failed("llm", f"no key for {provider}", f"set {variable}")
            return
        known = await self.looks.of_account(provider, key)
        whose = "a key of the tenant's own" if key is not None else "the deployment's key"
        detail = f"{provider} with {whose}: {say_account(provider, known, variable)}"
        if known is not None and known.is_refused:
            found.failed("llm", detail, f"add credit, or set another key as {variable}")
        else:
            found.ok("llm", detail)


async def _note(trying: Awaitable[CheckStep], found: _Findings) -> None:
    try:
        found.steps.append(await trying)
    except NotTried as reason:
        found.warnings.append(str(reason))


def _say_last_event(tenant: TenantInstance, found: _Findings, *, is_open: bool) -> None:
    if (last := tenant.last_event_at) is not None:
        minutes = (datetime.now(UTC) - last) // timedelta(minutes=1)
        when = f"{last.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {max(minutes, 0)} minutes ago"
        found.ok("last_event", f"the last event of Evolution came at {when}")
    elif is_open:
        found.warnings.append(
            "no event of Evolution has come within the last seven days: write to the number, and"
            " look again"
        )


def _say_refusal(tenant: TenantInstance, error: EvolutionRefused, found: _Findings) -> None:
    if "EVOLUTION_SERVERS" in str(error):  # no request was made
        cure = "set EVOLUTION_SERVERS for the router, or correct the tenant's evo_server_url or key"
        found.failed("instance", str(error), cure)
        return
    cure = f"correct the key: `python -m scripts.tenant set {tenant.name} evo_api_key=-`"
    if str(error).startswith("404"):
        cure = f"create the instance {tenant.name} in Evolution, or correct instance_name"
    if tenant.key is not None:
        found.ok("evolution", f"{tenant.server_url} answers")
    found.failed("instance", str(error), cure)
