"""Which LLM a tenant uses, and the tenant's own key for it, which is opened only here."""

from pydantic import SecretStr

from router.llm.errors import LlmMisconfigured
from router.logs.scrubber import shield_secret
from router.state.calls.claimed_turn import ClaimedTurn, TurnTenant
from router.tenants.sealing import CannotOpen, Vault, place_of_key


def pays_itself(tenant: TurnTenant) -> bool:
    """Whether the tenant uses its own key of the LLM provider, not the deployment's."""
    return tenant.llm_api_key is not None and bool(tenant.llm_api_key.get_secret_value())


def llm_of(tenant: TurnTenant) -> str:
    """Return a name for the tenant's provider, model and key: each combination may fail alone."""
    whose = f"tenant {tenant.tenant_id}" if pays_itself(tenant) else "the deployment"
    return f"{tenant.llm_provider} {tenant.llm_model or 'default'} of {whose}"


def max_tokens_within(tenant: TurnTenant, most: int) -> int:
    """Return the token limit of a reply; with the deployment's key at most `most`."""
    own = tenant.llm_max_tokens or most
    return own if pays_itself(tenant) else min(own, most)


class LlmKeys:
    """The only code that opens tenants' LLM keys; an opened key is removed from all logs."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def of_turn(self, turn: ClaimedTurn) -> SecretStr | None:
        """Return the own key of the turn's tenant, or None if it uses the deployment's.

        Raises LlmMisconfigured if the key cannot be opened.
        """
        return self.of_tenant(turn.tenant.tenant_id, turn.tenant.llm_api_key)

    def of_tenant(self, tenant_id: int, stored: SecretStr | None) -> SecretStr | None:
        """Return a tenant's key from its stored form; see `of_turn`."""
        if stored is None or not stored.get_secret_value():
            return None
        place = place_of_key("llm_api_key", tenant_id)
        try:
            key = self._vault.open(stored.get_secret_value(), place)
        except CannotOpen as error:
            raise LlmMisconfigured(f"the tenant's llm_api_key cannot be read: {error}") from error
        shield_secret(key)
        return key
