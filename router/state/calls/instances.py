"""The tenants' instances, as the router itself needs them: database/schema/0806_instances.sql."""

from pydantic import SecretStr

from router.state.calls.model import (
    Answer,
    Asked,
    Items,
    Moment,
    StoredInstance,
    Text,
    call,
)
from router.state.calls.notices import OutageTold
from router.state.database import Database


class GetInstance(Asked):
    """The instance, and the mark of a probe that may have arrived."""

    tenant_id: int | None = None
    instance_name: Text | None = None
    probe: str | None = None


class UndeliveredReplies(Answer):
    """A tenant's latest replies, all of which were not delivered."""

    replies: int
    contacts: int
    since: Moment
    last_at: Moment


class InstanceFound(StoredInstance):
    """How to reach an instance, who may post its webhooks, and what has failed recently.

    Its LLM key is in its stored form.
    """

    is_active: bool
    llm_provider: str
    llm_api_key_set: bool
    llm_api_key: SecretStr | None = None
    connection_state: str | None
    shared_webhook_secret: bool
    webhook_hashes: Items[str]
    undelivered: UndeliveredReplies | None
    outages: Items[OutageTold] = ()
    last_event_at: Moment | None
    probe_arrived: bool


async def get_instance(database: Database, asked: GetInstance) -> InstanceFound:
    """Return how to reach an instance, with its key. Raises NotFound."""
    return await call(database, "get_instance", asked, InstanceFound)
