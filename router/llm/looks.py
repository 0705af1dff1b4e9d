"""Checks the accounts of the LLM providers ("looks"): seldom, and `/health` never waits for it.

A turn tells more than a look, so a provider that has just answered a turn is not asked at all. The
deployment's own keys are checked regularly. A tenant's key is checked when somebody tests its
instance, with a limit per minute for all tenants together.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from pydantic import SecretStr

from router.llm.provider import LlmProvider
from router.llm.standing import Known
from router.logs.events import Action, log_event
from router.running.stopping import end_tasks
from router.sharing.rates import Rates, per_minute

_log = logging.getLogger(__name__)
_GOOD_FOR = 300.0  # seconds until an accepted key is checked again
_BAD_FOR = 30.0  # the same for any other key
_TENANTS_LOOKS = per_minute(30)
_MOST = 1_000  # accounts whose last look is remembered
_GRACE = 0.5


class Looks:
    """Returns at once what is known; if that is old, starts a new look in the background."""

    def __init__(
        self,
        providers: Mapping[str, LlmProvider],
        rates: Rates | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._providers = providers
        self._rates = rates or Rates(clock)
        self._clock = clock
        self._looked: OrderedDict[str, float] = OrderedDict()
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, bool] = {}

    def has_key(self, name: str) -> bool:
        """Whether the deployment has a key of this provider."""
        return name in self._providers and self._providers[name].has_key

    def of_deployment(self) -> dict[str, Known | None]:
        """Return the state of each account of the deployment, by provider; start new looks."""
        ours = {name: each for name, each in self._providers.items() if each.has_key}
        for name, provider in ours.items():
            self._begin(provider, name)
        return {name: provider.known for name, provider in ours.items()}

    async def of_account(self, name: str, key: SecretStr | None) -> Known | None:
        """Return an account's state, after a new look if the last one is old; None: unknown.

        A `key` of None is the deployment's. A tenant's account is not looked at if there were too
        many looks in this minute.
        """
        provider = self._providers.get(name)
        if provider is None or (key is None and not provider.has_key):
            return None
        if key is None:
            looking = self._begin(provider, name)
        else:
            provider = provider.with_key(key)
            looking = self._begin(provider, None)
        if looking is not None:
            await asyncio.wait([looking])
        return provider.known

    async def close(self) -> None:
        """Cancel what is under way."""
        await end_tasks(tuple(self._looking.values()), _GRACE)

    def _begin(self, provider: LlmProvider, name: str | None) -> asyncio.Task[None] | None:
        """Start a look, unless recent news is known. `name` is set for the deployment's keys."""
        account = f"{provider.name} {provider.account}"
        if (looking := self._looking.get(account)) is not None:
            return looking
        if self._is_fresh(account, provider.known):
            return None
        if name is None and self._rates.exceeded(_TENANTS_LOOKS, "looks") is not None:
            return None
        self._looked[account] = self._clock()
        self._looked.move_to_end(account)
        if len(self._looked) > _MOST:
            self._looked.popitem(last=False)
        looking = asyncio.create_task(self._look(provider, name), name=f"look at {provider.name}")
        self._looking[account] = looking
        looking.add_done_callback(lambda _: self._looking.pop(account, None))
        return looking

    def _is_fresh(self, account: str, known: Known | None) -> bool:
        good = known is not None and known.standing == "works"
        seen = [self._looked.get(account)]
        if known is not None and (good or known.by == "look"):
            seen.append(known.at)
        latest = max((each for each in seen if each is not None), default=None)
        return latest is not None and self._clock() < latest + (_GOOD_FOR if good else _BAD_FOR)

    async def _look(self, provider: LlmProvider, name: str | None) -> None:
        try:
            await provider.look()
        except Exception as error:  # noqa: BLE001 - nothing depends on it, and the next look comes
            log_event(
                _log, Action.UNEXPECTED, f"the account at {provider.name} could not be looked at",
                level=logging.WARNING, exc_info=error,
            )  # fmt: skip
        known = provider.known
        if name is None or known is None:
            return
        # A turn logs its own refusal; a look logs a refusal once, until a look or turn succeeds.
        if known.is_refused and known.by == "look" and not self._told.get(name):
            log_event(
                _log, Action.LLM_REFUSED,
                f"{name} refuses the key of the deployment: {known.said}",
                level=logging.ERROR, provider=name, cause=known.standing,
            )  # fmt: skip
        self._told[name] = known.is_refused
