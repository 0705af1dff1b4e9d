"""A tenant's own key of its LLM provider, opened where it is used."""

from pydantic import SecretStr

from router.llm.provider import LlmMisconfigured
from router.logs.scrubber import shield_secret
from router.replies.claimed import ClaimedTurn
from router.tenants.sealing import CannotOpen, Vault, place_of_key


class LlmKeys:
    """The one place where it is opened; from then on no log line can hold it."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def of_turn(self, turn: ClaimedTurn) -> SecretStr | None:
        """Return the key of the turn's tenant; None: the deployment's serves.

        Raises LlmMisconfigured where it cannot be opened.
        """
        stored = turn.tenant.llm_api_key
        if stored is None or not stored.get_secret_value():
            return None
        place = place_of_key("llm_api_key", turn.tenant.tenant_id)
        try:
            key = self._vault.open(stored.get_secret_value(), place)
        except CannotOpen as error:
            raise LlmMisconfigured(f"the tenant's llm_api_key cannot be read: {error}") from error
        shield_secret(key)
        return key
