"""Which LLM serves a tenant, and its own key for it, opened where it is used."""

from pydantic import SecretStr

from router.llm.errors import LlmMisconfigured
from router.logs.scrubber import shield_secret
from router.state.calls.claimed_turn import ClaimedTurn, TurnTenant
from router.tenants.sealing import CannotOpen, Vault, place_of_key


def pays_itself(tenant: TurnTenant) -> bool:
    """Whether its own key of the LLM provider serves it, not the deployment's."""
    return tenant.llm_api_key is not None and bool(tenant.llm_api_key.get_secret_value())


def llm_of(tenant: TurnTenant) -> str:
    """Return which LLM makes its replies: success of one says nothing of another model or key."""
    whose = f"tenant {tenant.tenant_id}" if pays_itself(tenant) else "the deployment"
    return f"{tenant.llm_provider} {tenant.llm_model or 'default'} of {whose}"


def max_tokens_within(tenant: TurnTenant, most: int) -> int:
    """Return the token limit of a reply; with the deployment's key at most `most`."""
    own = tenant.llm_max_tokens or most
    return own if pays_itself(tenant) else min(own, most)


class LlmKeys:
    """The only code that opens such a key; from then on it is kept out of the logs."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def of_turn(self, turn: ClaimedTurn) -> SecretStr | None:
        """Return the key of the turn's tenant; None: the deployment's serves.

        Raises LlmMisconfigured if it cannot be opened.
        """
        return self.of_tenant(turn.tenant.tenant_id, turn.tenant.llm_api_key)

    def of_tenant(self, tenant_id: int, stored: SecretStr | None) -> SecretStr | None:
        """Return a tenant's key from its stored form; otherwise like `of_turn`."""
        if stored is None or not stored.get_secret_value():
            return None
        place = place_of_key("llm_api_key", tenant_id)
        try:
            key = self._vault.open(stored.get_secret_value(), place)
        except CannotOpen as error:
            raise LlmMisconfigured(f"the tenant's llm_api_key cannot be read: {error}") from error
        shield_secret(key)
        return key
