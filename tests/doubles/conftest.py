"""The loopback Evolution, and who calls it."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from loopback.evolution import Business, Evolution
from loopback.receiver import WebhookReceiver
from tests.clients import patient


@pytest.fixture
def evolution() -> Iterator[Evolution]:
    with Evolution() as evolution:
        yield evolution


@pytest.fixture
def shop(evolution: Evolution) -> Business:
    return evolution.instance("shop")


@pytest.fixture
async def api(shop: Business) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"apikey": shop.token}
    async with patient(base_url=shop.program.url, headers=headers) as api:
        yield api


@pytest.fixture
def router() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as router:
        yield router
