"""An answer that only says what became of a call costs little to unpack, whatever is in it."""

import gzip
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

import httpx
import pytest
from pydantic import SecretStr

from router.configuration.addresses import Allowed
from router.evolution.bots import enabled_bots
from router.evolution.client import EvolutionClient
from router.evolution.errors import EvolutionError
from router.evolution.exchange import LONGEST_WORD, Instance
from router.evolution.sends import EvolutionSends
from router.outbound import bounds
from router.outbound.checked import CheckedTransport
from router.outbound.client import client_over
from tests.evolution import WholeEvolution
from tests.scenarios.hostile import saying, server

NUMBER = "5511999990001"
CALLS: dict[str, Callable[[httpx.AsyncClient, Instance], Awaitable[object]]] = {
    "a text": lambda http, shop: WholeEvolution(http).send_text(shop, NUMBER, "hello"),
    "a picture": lambda http, shop: EvolutionSends(http).send(
        shop, "message/sendMedia", {"number": NUMBER, "mediatype": "image", "media": "QUJD"}
    ),
    "a message to be read": lambda http, shop: EvolutionSends(http).mark_read(shop, NUMBER, ["A"]),
    "typing": lambda http, shop: EvolutionSends(http).send_presence(shop, NUMBER),
    "a phone to be linked": lambda http, shop: EvolutionClient(http).connect(shop),
    "the connection's state": lambda http, shop: EvolutionClient(http).connection_state(shop),
    "the webhook that is set": lambda http, shop: EvolutionClient(http).find_webhook(shop),
    "a webhook to be set": lambda http, shop: EvolutionClient(http).set_webhook(shop, "u", {}),
    "bots": enabled_bots,
}


@pytest.mark.parametrize("call", CALLS)
async def test_no_more_of_it_is_unpacked_than_a_word(call: str, monkeypatch: pytest.MonkeyPatch):
    unpacked: list[int] = []
    begun = bounds.unpacking

    def counted(headers: httpx.Headers, longest: int) -> Callable[[bytes], Iterable[bytes]]:
        unpacked.append(longest)
        return begun(headers, longest)

    monkeypatch.setattr("router.outbound.transport.unpacking", counted)
    bomb = gzip.compress(b" " * 2**24)
    here = CheckedTransport(Allowed.of(["127.0.0.0/8"]))
    async with (
        server(saying(b"Content-Encoding: gzip", bomb, status=b"201 Created")) as url,
        client_over(here, 20) as http,
    ):
        with suppress(EvolutionError):
            await CALLS[call](http, Instance(url, SecretStr("key"), "shop"))
    assert unpacked
    assert max(unpacked) < LONGEST_WORD + 1000
