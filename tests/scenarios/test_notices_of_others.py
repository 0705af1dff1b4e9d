"""One tenant's notices, told by flows to an Evolution that hangs, keep no other's waiting."""

import asyncio
from uuid import uuid4

import httpx
import pytest

from loopback.evolution import failures
from router.sending.speakers import notice, relayed, reply_part
from router.state.calls.relays import ClaimedRelay
from router.state.flow_tokens import NoticeToken
from router.tenants.instance import InstanceKeys
from tests.clients import patient
from tests.scenarios.flow import n8n, playing
from tests.scenarios.stage import Stage
from tests.unit.test_fallback import turn

__all__ = ["n8n"]
STAFF = "5511955559999"


async def noticed(stage: Stage, instance: str) -> str:
    """A handoff of the tenant's, which a flow is to tell of; its token."""
    secret = str(uuid4())
    (made,) = await stage.sql(
        "insert into notices (tenant_id, kind, facts, next_at, attempt, token_hash, lease_until)"
        " select id, 'handoff', '{\"reason\": \"x\"}', now() + interval '1 hour', 1,"
        " hybridflow.hash_token($1::uuid), now() + interval '1 hour'"
        " from tenants where instance_name = $2 returning id",
        secret,
        instance,
    )
    return str(NoticeToken(made["id"], secret))


async def tells(stage: Stage, token: str, instance: str) -> httpx.Response:
    async with patient(base_url=stage.router_url) as client:
        return await client.post(
            f"/n8n/evolution/message/sendText/{instance}",
            json={"text": "a human is wanted"},
            headers={"apikey": token},
        )


@pytest.mark.parametrize("named", ["padaria", "farmacia"])
async def test_notices_of_one_tenant_leave_places_for_anothers(
    database_url: str, evolution, llm, n8n, named: str
):
    """Also where they are said to be for the other's instance."""
    async with playing(
        database_url, evolution, llm, n8n, MAX_CONCURRENT_REQUESTS="8", SEND_TIMEOUT="20"
    ) as stage:
        await stage.open_shop("farmacia", notify_number=STAFF)
        await stage.sql("update tenants set notify_number = $1", STAFF)
        stage.shop.fail("sendText", failures.NEVER_ANSWERED, times=None)
        tokens = [await noticed(stage, "padaria") for _ in range(6)]
        held = [asyncio.create_task(tells(stage, token, named)) for token in tokens]
        other = await noticed(stage, "farmacia")
        if named == "padaria":
            while len(stage.shop.calls("sendText")) < 3:
                await asyncio.sleep(0.01)
        assert (await tells(stage, other, "farmacia")).status_code == 201
        if named == "farmacia":
            assert {(await each).status_code for each in held} <= {403, 503}
        for each in held:
            each.cancel()


RELAY = ClaimedRelay.model_construct(relay_id=4, token="a-token", tenant_id=1)


def test_whoever_speaks_for_a_tenant_takes_its_places_whatever_instance_is_named():
    speakers = (
        reply_part(turn(), 0, InstanceKeys(None).line(turn().tenant)),
        relayed(RELAY),
        notice(NoticeToken(3, "x"), "tenant 1", instance_name="farmacia"),
    )
    assert {speaker.holder for speaker in speakers} == {"tenant 1"}
