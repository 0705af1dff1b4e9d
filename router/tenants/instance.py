"""A tenant's Evolution instance and the key that opens it."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr

from router.configuration.servers import Servers, shown_server
from router.configuration.settings import Settings
from router.evolution.errors import EvolutionRefused
from router.evolution.exchange import Instance
from router.logs.scrubber import shield_secret
from router.state.calls.instances import GetInstance, get_instance
from router.state.calls.model import StoredInstance
from router.state.calls.notices import OutageTold
from router.state.database import Database
from router.tenants.delivery import Failures
from router.tenants.sealing import CannotOpen, Vault, place_of_key


class InstanceKeys:
    """Which key is sent to which server of Evolution: the tenant's own, else EVOLUTION_API_KEY.

    EVOLUTION_API_KEY opens every instance, so it is sent only to servers that EVOLUTION_SERVERS
    names. Only this class opens a stored key; after that, the key is kept out of the logs.
    """

    def __init__(
        self,
        default_key: SecretStr | None,
        vault: Vault | None = None,
        servers: Servers | None = None,
    ) -> None:
        self._default_key = default_key
        self._vault = vault or Vault(())
        self._servers = servers or Servers()

    @classmethod
    def of(cls, settings: Settings) -> "InstanceKeys":
        """Return the keys of the configuration."""
        return cls(
            settings.evolution_api_key,
            Vault(settings.secrets_key),
            Servers.of(settings.evolution_servers),
        )

    def key_of(self, found: StoredInstance) -> SecretStr | None:
        """Return the key of an instance that the state found; None: there is none.

        Raises EvolutionRefused if the key cannot be opened.
        """
        stored = found.evo_api_key.get_secret_value() if found.evo_api_key else None
        if not stored:
            return self._default_key if self._servers.has(found.evo_server_url) else None
        try:
            key = self._vault.open(stored, place_of_key("evo_api_key", found.tenant_id))
        except CannotOpen as error:
            raise EvolutionRefused(f"the tenant's evo_api_key cannot be read: {error}") from error
        shield_secret(key)
        return key

    def instance(self, found: StoredInstance) -> Instance:
        """Return an instance that the state found, with its key. Raises EvolutionRefused."""
        return self.reach(found.instance_name, found.evo_server_url, self.key_of(found))

    def line(self, found: StoredInstance) -> "TenantLine":
        """Return the line of an instance that the state found, for one attempt or request."""
        return TenantLine(self, found)

    def reach(self, name: str, server_url: str, key: SecretStr | None) -> Instance:
        """Return the instance at this URL. Raises EvolutionRefused: no key, or a bad URL."""
        if name in (".", ".."):  # requests for it would go to another path
            raise EvolutionRefused(f"no instance can be called {name}: name it as Evolution does")
        try:
            address = self._servers.address_of(server_url)
        except ValueError as error:
            raise EvolutionRefused(f"{name} cannot be reached: {error}") from error
        if key is None:
            raise EvolutionRefused(self._no_key(name, server_url))
        return Instance(server_url=address, api_key=key, name=name)

    def _no_key(self, name: str, server_url: str) -> str:
        if self._default_key is None:
            return f"no Evolution key for {name}: set the tenant's evo_api_key or EVOLUTION_API_KEY"
        server = shown_server(server_url)
        cure = f"EVOLUTION_SERVERS={server}"
        if self._servers.are_named:
            cure = f"EVOLUTION_SERVERS with {server} added"
        return (
            f"no Evolution key for {name}: EVOLUTION_API_KEY is shown only to servers that"
            f" EVOLUTION_SERVERS names, and {server} is not among them. Set the tenant's"
            f" evo_api_key; or, where that server is the deployment's, {cure}"
        )


class TenantLine:
    """A tenant's way to WhatsApp for one attempt. Its key is opened once, when it is first needed.

    The line and the key exist only as long as the attempt.
    """

    def __init__(self, keys: InstanceKeys, stored: StoredInstance) -> None:
        self.stored = stored
        self._keys = keys
        self._instance: Instance | None = None

    def instance(self) -> Instance:
        """Return the instance with its key. Raises EvolutionRefused."""
        if self._instance is None:
            self._instance = self._keys.instance(self.stored)
        return self._instance


@dataclass(frozen=True, slots=True)
class TenantInstance:
    """What is known about an instance. `key`: the tenant's, else EVOLUTION_API_KEY, else None.

    `keys` provided the key, and knows where it may be sent.
    """

    tenant_id: int
    name: str
    server_url: str
    key: SecretStr | None
    keys: InstanceKeys
    llm_provider: str
    has_llm_key: bool
    is_active: bool
    # SHA-256 of its own webhook secrets without an end, and whether the deployment's is accepted
    webhook_hashes: tuple[str, ...] = ()
    shared_webhook_secret: bool = True
    failures: Failures | None = None  # None: the last reply was delivered, as far as we know
    outages: tuple[OutageTold, ...] = ()  # why its customers get no answer now
    llm_key: SecretStr | None = None  # its own, in its stored form
    last_event_at: datetime | None = None  # None: none in the week for which events are kept

    def reachable(self) -> Instance:
        """Return the instance for the Evolution client. Raises EvolutionRefused as `reach` does."""
        return self.keys.reach(self.name, self.server_url, self.key)


async def find_instance(database: Database, name: str, keys: InstanceKeys) -> TenantInstance:
    """Return the instance `name`.

    Raises NotFound if no tenant has it, EvolutionRefused if its key cannot be opened, and
    DatabaseAway.
    """
    found = await get_instance(database, GetInstance(instance_name=name))
    return TenantInstance(
        tenant_id=found.tenant_id,
        name=found.instance_name,
        server_url=found.evo_server_url,
        key=keys.key_of(found),
        keys=keys,
        llm_provider=found.llm_provider,
        has_llm_key=found.llm_api_key_set,
        is_active=found.is_active,
        webhook_hashes=found.webhook_hashes,
        shared_webhook_secret=found.shared_webhook_secret,
        failures=None if (failed := found.undelivered) is None else Failures.of(failed),
        outages=tuple(found.outages),
        llm_key=found.llm_api_key,
        last_event_at=found.last_event_at,
    )
