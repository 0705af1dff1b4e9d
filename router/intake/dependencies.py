"""What the endpoint for webhooks works with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from router.configuration.settings import Settings
from router.http.bodies import Bodies
from router.http.callers import Callers
from router.http.services import given
from router.intake.ingester import Ingester
from router.intake.rejections import Rejections
from router.intake.webhook_access import AccessCache
from router.people.hashing import ContactHashes
from router.sharing.rates import Rates
from router.state.database import Database


@dataclass(frozen=True, slots=True)
class IntakeServices:
    """What receiving a webhook needs: access, limits, and the way into the state.

    `media_came` is called when a webhook contained media; None: nothing processes media.
    """

    settings: Settings
    callers: Callers
    access: AccessCache
    rates: Rates
    bodies: Bodies
    hashes: ContactHashes
    ingester: Ingester
    rejections: Rejections
    database: Database
    media_came: Callable[[], None] | None


TheServices = Annotated[IntakeServices, Depends(given(IntakeServices))]
