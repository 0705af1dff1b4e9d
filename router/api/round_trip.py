"""Checks that a post to a webhook's URL arrives at this router.

The response proves nothing: another program, or another deployment, may answer 200. A probe has
arrived when it is in this router's own database.
"""

import asyncio
from dataclasses import dataclass

import httpx
from pydantic import SecretStr

from router.api.models import CheckStep
from router.api.probing import Answer, Probe, make_probe, post_probe
from router.api.webhook_check import is_ours, shown_url, webhook_url
from router.configuration.settings import Settings
from router.evolution.client import WebhookSettings
from router.outbound.refused import AddressRefused
from router.state.calls.instances import GetInstance, get_instance
from router.state.database import Database

_PATIENCE = 10.0  # seconds for a probe
_OTHER_NETWORK = "network_not_allowed"
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, ValueError, OverflowError, TimeoutError)


class NotTried(Exception):
    """It cannot be checked from here whether events arrive; the text says why."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Posts probes; `http` is the client for URLs that tenants set."""

    database: Database
    settings: Settings
    http: httpx.AsyncClient

    async def by_evolution(self, webhook: WebhookSettings, name: str) -> CheckStep:
        """Post as Evolution would, to the URL that it has stored. Raises NotTried."""
        address = shown_url(webhook.url)
        cure = (
            "see that Evolution's events reach this router there, or run `python -m scripts.tenant"
            f" connect {name}` with the URL at which they do"
        )
        try:
            probe = make_probe(webhook, name)
        except ValueError as error:
            detail = f"Evolution cannot post to {address}: {error}"
            return CheckStep(step="round_trip", ok=False, detail=detail, cure=cure)
        try:
            if is_ours(webhook.url, name, self.settings.public_url):
                async with _our_own_http() as own:  # our URL, not a tenant's
                    return await self._step("round_trip", own, probe, name, address, cure)
            return await self._step("round_trip", self.http, probe, name, address, cure)
        except AddressRefused as error:
            raise NotTried(
                f"no probe was posted to {address}: it leads to no public address, so only"
                " Evolution can tell. Set PUBLIC_URL to it, or name its host in ALLOWED_NETWORKS,"
                " to have it tried"
            ) from error

    async def by_public_url(self, name: str) -> CheckStep:
        """Post to PUBLIC_URL with the deployment's secret. Raises NotTried."""
        if self.settings.public_url is None or not self.settings.webhook_secrets:
            raise NotTried(
                "no trial event was sent: PUBLIC_URL and EVOLUTION_WEBHOOK_SHARED_SECRET are needed"
            )
        url = webhook_url(self.settings.public_url, name)
        probe = make_probe(_as_we_set_it(url, self.settings.webhook_secrets[0]), name)
        cure = "PUBLIC_URL must lead to this router from where Evolution runs"
        async with _our_own_http() as own:
            return await self._step("trial", own, probe, name, url, cure)

    async def _step(
        self, step: str, http: httpx.AsyncClient, probe: Probe, name: str, address: str, cure: str
    ) -> CheckStep:
        """Post the probe, and look for it in the database. Raises NotTried and AddressRefused."""
        try:
            async with asyncio.timeout(_PATIENCE):
                answer = await post_probe(http, probe)
        except AddressRefused:
            raise
        except _FAILURES as error:
            detail = f"{address} cannot be reached from here: {_in_short(error)}"
            return CheckStep(step=step, ok=False, detail=detail, cure=cure)
        if answer.code == _OTHER_NETWORK:
            raise NotTried(
                f"the probe posted to {address} was refused, as it came from here: whether"
                " Evolution may send from where it is, only its own events show"
            )
        asked = GetInstance(instance_name=name, probe=probe.mark)
        found = await get_instance(self.database, asked)
        if fault := fault_of(answer, has_arrived=found.probe_arrived):
            return CheckStep(step=step, ok=False, detail=f"{address} {fault}", cure=cure)
        return CheckStep(step=step, ok=True, detail=f"a probe posted to {address} has arrived")


def fault_of(answer: Answer, *, has_arrived: bool) -> str | None:
    """Return the error as a text that follows the URL, or None if all is well."""
    said = f"answers {answer.status}" + (f" ({answer.code})" if answer.code else "")
    if 300 <= answer.status < 400:
        return f"{said}, a redirect: have Evolution post to where it leads"
    if answer.status >= 300:
        return f"{said}, so what Evolution posts is not taken"
    return None if has_arrived else f"{said}, but it is not this router: the probe has not arrived"


def _our_own_http() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=_PATIENCE)


def _as_we_set_it(url: str, secret: SecretStr) -> WebhookSettings:
    headers = {"X-Webhook-Secret": secret.get_secret_value()}
    return WebhookSettings(url=url, enabled=True, events=(), headers=headers)


def _in_short(error: Exception) -> str:
    """Return the error's kind and message, without the request: that contains the secret."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, httpx.HTTPError):
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return "no request can be made of its URL and headers"
