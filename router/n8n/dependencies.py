"""What the endpoints for flows work with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from router.configuration.settings import Settings
from router.http.bodies import Bodies
from router.http.services import given
from router.n8n.failing_flows import FailingFlows
from router.n8n.received_media import ReceivedMedia
from router.outbound.media import MediaSource
from router.people.hashing import ContactHashes
from router.safety.guard import ReplyGuard
from router.sending.courtesy import Courtesy
from router.sending.outbox import Outbox
from router.sending.presence import Presence
from router.senses.sounds import Sounds
from router.sharing.at_once import AtOnce
from router.sharing.bench import Bench
from router.sharing.shares import Shares
from router.state.database import Database
from router.tenants.instance import InstanceKeys


@dataclass(frozen=True, slots=True)
class FlowServices:
    """What a flow's request needs. `places` limits all requests, `at_once` those of one turn."""

    settings: Settings
    database: Database
    outbox: Outbox
    guard: ReplyGuard
    presence: Presence
    courtesy: Courtesy
    media: MediaSource
    sounds: Sounds
    received: ReceivedMedia
    media_bodies: Bodies
    keys: InstanceKeys
    hashes: ContactHashes
    failing: FailingFlows
    places: Shares
    at_once: AtOnce
    bench: Bench
    wake: Callable[[], None]  # the dispatcher that claims turns
    wake_notices: Callable[[], None]


TheServices = Annotated[FlowServices, Depends(given(FlowServices))]
