"""A router that stood still shows no "typing…" long after, and marks nothing as read."""

from collections.abc import Callable

import pytest
from pydantic import SecretStr

from router.evolution.errors import EvolutionAway
from router.evolution.exchange import Instance
from router.evolution.sends import EvolutionSends
from router.sending.courtesy import Courtesy
from router.sending.presence import Presence
from router.state.calls.model import StoredInstance
from router.tenants.instance import InstanceKeys, TenantLine
from tests.exchanges import client, friendly, server, stand_still
from tests.unit.test_fallback import turn

A_WHILE = 10.0

SHOWN: dict[str, Callable[[Courtesy, TenantLine], None]] = {
    "typing": lambda courtesy, line: courtesy.type_for(turn(), line, 1),
    "reading": lambda courtesy, line: courtesy.read(turn(), line),
}


@pytest.mark.parametrize("what", SHOWN)
async def test_what_is_shown_around_a_reply_begins_soon_or_not_at_all(
    what: str, monkeypatch: pytest.MonkeyPatch
):
    """Another router may have answered by then, or a human have taken over."""
    async with server(friendly) as there, client() as http:
        stored = StoredInstance(
            tenant_id=1, instance_name="padaria", evo_server_url=there.url,
            evo_api_key=SecretStr("key"),
        )  # fmt: skip
        courtesy = Courtesy(EvolutionSends(http), typing_seconds=1)
        for late in (True, False):
            with monkeypatch.context() as patched:
                stand_still(patched, A_WHILE if late else 0.0)
                SHOWN[what](courtesy, InstanceKeys(None).line(stored))
                for task in list(courtesy._under_way):
                    await task
            assert there.asked == (0 if late else 1)


async def test_the_typing_that_begins_with_a_reply_is_not_shown_after_it(
    monkeypatch: pytest.MonkeyPatch,
):
    stand_still(monkeypatch, A_WHILE)
    async with server(friendly) as there, client() as http:
        stored = StoredInstance(
            tenant_id=1, instance_name="padaria", evo_server_url=there.url,
            evo_api_key=SecretStr("key"),
        )  # fmt: skip
        courtesy = Courtesy(EvolutionSends(http), typing_seconds=1, later=0)
        async with courtesy.during(turn(), InstanceKeys(None).line(stored)):
            for task in list(courtesy._under_way):
                await task
    assert there.asked == 0


async def test_what_a_flow_shows_begins_soon_or_the_flow_hears_of_it(
    monkeypatch: pytest.MonkeyPatch,
):
    stand_still(monkeypatch, A_WHILE)
    async with server(friendly) as there, client() as http:
        shop = Instance(there.url, SecretStr("key"), "padaria")
        with pytest.raises(EvolutionAway, match="could not begin in time"):
            await Presence(EvolutionSends(http)).show(shop, "5511", "composing", 1000)
    assert there.asked == 0
