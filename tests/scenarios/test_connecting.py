"""`scripts.tenant connect`: Evolution knows where to send, and the phone is linked."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loopback.evolution import Business, Evolution, failures
from loopback.faults import Fault
from router.api.models import CheckStep
from router.api.webhook_check import judge_webhook
from router.configuration.settings import Settings
from router.errors import NotFound
from router.evolution.client import WebhookSettings
from router.evolution.subscription import SUBSCRIBED_EVENTS
from router.state.direct import DirectDatabase
from router.tenants.instance import InstanceKeys, find_instance
from scripts.connecting import Connection, connect, drawn
from scripts.running import CannotGoOn
from scripts.tenant_secrets import new_secret, retire_secret, show_secrets
from tests.routers import door, url_of
from tests.scenarios.office import WEBHOOK_SECRET, settings_with
from tests.state.conversation import Conversation

ROUTER = "https://router.example"
CODE = "2@a-code-as-whatsapp-gives,AAA,BBB,CCC"


@pytest.fixture
def shop(evolution: Evolution) -> Business:
    return evolution.instance("shop")


@pytest.fixture
def settings(shop: Business) -> Settings:
    return settings_with(
        {
            "EVOLUTION_API_KEY": shop.token,
            "EVOLUTION_SERVERS": shop.program.url,
            "PUBLIC_URL": ROUTER,
        }
    )


@pytest.fixture
async def database(database_url: str, evolution: Evolution) -> AsyncIterator[DirectDatabase]:
    database = await DirectDatabase.connect(database_url, size=1)
    talk = Conversation(database)
    await talk.open_shop()
    await talk.sql("update tenants set evo_server_url = $1", evolution.url)
    yield database
    await database.close()


def wanted(timeout_seconds: float = 20, url: str | None = None) -> Connection:
    return Connection("shop", url, timeout_seconds, poll_seconds=0.01)


async def test_the_webhook_is_set_with_everything_that_the_router_needs(
    settings: Settings,
    database: DirectDatabase,
    shop: Business,
    capsys: pytest.CaptureFixture[str],
):
    assert await connect(settings, database, wanted()) == 0
    setting = shop.webhooks.setting
    assert setting is not None
    assert (setting.url, setting.enabled) == (f"{ROUTER}/webhook/shop", True)
    assert setting.headers == {"X-Webhook-Secret": WEBHOOK_SECRET}
    assert setting.events == SUBSCRIBED_EVENTS
    assert (setting.by_events, setting.base64) == (False, False)
    out = capsys.readouterr().out
    assert "is connected" in out
    assert WEBHOOK_SECRET not in out


async def test_the_address_given_counts_before_the_configured_one(
    settings: Settings, database: DirectDatabase, shop: Business
):
    await connect(settings, database, wanted(url="http://here:8000/"))
    assert shop.webhooks.setting is not None
    assert shop.webhooks.setting.url == "http://here:8000/webhook/shop"


async def test_the_qr_code_is_drawn_until_the_phone_is_connected(
    settings: Settings,
    database: DirectDatabase,
    shop: Business,
    capsys: pytest.CaptureFixture[str],
):
    shop.line.shows_qr(CODE)
    connecting = asyncio.create_task(connect(settings, database, wanted()))
    await shop.called("connect", 2)
    shop.line.shows_qr("2@the-next-code")
    await shop.called("connect", len(shop.calls("connect")) + 2)
    shop.line.connects()
    async with asyncio.timeout(20):
        assert await connecting == 0
    out = capsys.readouterr().out
    assert out.count(drawn(CODE)) == 1
    assert out.count(drawn("2@the-next-code")) == 1
    assert out.index(drawn(CODE)) < out.index("is connected")


async def test_a_phone_that_nobody_connects_is_given_up_after_a_while(
    settings: Settings, database: DirectDatabase, shop: Business
):
    shop.line.breaks()
    with pytest.raises(CannotGoOn, match="not connected within 0 seconds; the webhook is set"):
        await connect(settings, database, wanted(timeout_seconds=0))
    assert shop.webhooks.setting is not None


async def test_what_evolution_refuses_is_said_in_its_words_with_the_cure(
    settings: Settings, database: DirectDatabase, shop: Business
):
    shop.fail("webhook/set", failures.BAD_KEY)
    with pytest.raises(CannotGoOn, match=r"401: Unauthorized.* set shop evo_api_key=-"):
        await connect(settings, database, wanted())


@pytest.mark.parametrize("fails", [failures.CUT, failures.BROKEN, failures.UNAVAILABLE])
async def test_an_evolution_that_is_away_is_said_with_the_cure(
    settings: Settings, database: DirectDatabase, shop: Business, fails: Fault
):
    shop.fail("webhook/set", fails)
    cure = "shop: Evolution at .* is away: .* set shop evo_server_url=https://… evo_api_key=-"
    with pytest.raises(CannotGoOn, match=cure):
        await connect(settings, database, wanted())


async def test_a_server_that_nothing_listens_at_is_said_with_the_cure(
    settings: Settings, database: DirectDatabase
):
    with door() as nobody:
        await Conversation(database).sql(
            "update tenants set evo_server_url = $1, evo_api_key = 'its-own-key'", url_of(nobody)
        )
        with pytest.raises(CannotGoOn, match=r"is away: ConnectError .* evo_server_url="):
            await connect(settings, database, wanted())


async def test_an_instance_of_no_tenant_is_not_found(settings: Settings, database: DirectDatabase):
    with pytest.raises(NotFound, match="nobody"):
        await connect(settings, database, Connection("nobody", None, 1))


async def test_a_name_with_signs_is_a_safe_part_of_the_address(
    settings: Settings, database: DirectDatabase, evolution: Evolution
):
    shop = evolution.instance("loja 1", token=settings.evolution_api_key.get_secret_value())
    await Conversation(database).sql("update tenants set instance_name = 'loja 1'")
    await connect(settings, database, Connection("loja 1", None, 20))
    assert shop.webhooks.setting is not None
    assert shop.webhooks.setting.url == f"{ROUTER}/webhook/loja%201"


def shown(shop: Business) -> str:
    assert shop.webhooks.setting is not None
    return shop.webhooks.setting.headers["X-Webhook-Secret"]


async def own_secrets(database: DirectDatabase) -> list[dict[str, Any]]:
    listed = await database.call("list_webhook_secrets", {"tenant_id": 1})
    return list(listed["items"])


async def test_a_tenant_with_a_secret_of_its_own_gets_one_of_these(
    settings: Settings,
    database: DirectDatabase,
    shop: Business,
    capsys: pytest.CaptureFixture[str],
):
    await new_secret(database, "shop", None)
    capsys.readouterr()
    await connect(settings, database, wanted())
    first = shown(shop)
    assert first.startswith("whs_")
    assert first not in capsys.readouterr().out
    newest, _ = await own_secrets(database)
    assert newest["ends_with"] == first[-4:]
    await connect(settings, database, wanted())
    assert shown(shop) == first  # what Evolution shows already is left as it is
    assert len(await own_secrets(database)) == 2


async def test_rotating_sets_a_new_one_and_ends_the_others_a_day_later(
    settings: Settings, database: DirectDatabase, shop: Business
):
    await new_secret(database, "shop", None)
    await connect(settings, database, replace(wanted(), rotate=True))
    old, *_ = reversed(await own_secrets(database))
    assert old["is_active"]
    ends = datetime.fromisoformat(old["retires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < ends < timedelta(hours=25)
    first = shown(shop)
    await connect(settings, database, replace(wanted(), rotate=True))
    assert shown(shop) != first


async def test_rotating_gives_a_tenant_its_first_own_secret_and_the_shared_one_still_holds(
    settings: Settings, database: DirectDatabase, shop: Business
):
    await connect(settings, database, replace(wanted(), rotate=True))
    (only,) = await own_secrets(database)
    assert (only["is_active"], only["retires_at"]) == (True, None)
    guards = await database.call("webhook_guards", {})
    assert guards["guards"][0]["shared"]


async def test_the_instance_test_knows_the_tenants_own_secret(
    database_url: str, settings: Settings, database: DirectDatabase, shop: Business
):
    await connect(settings, database, replace(wanted(), rotate=True))
    assert shop.webhooks.setting is not None
    tenant = await find_instance(database, "shop", InstanceKeys.of(settings))
    found = WebhookSettings(ROUTER, enabled=True, events=(), headers=shop.webhooks.setting.headers)
    own = shown(shop)

    def judged(headers: dict[str, str]) -> CheckStep:
        asked = replace(found, headers=headers)
        return judge_webhook(asked, "shop", None, (), tenant.webhook_hashes)[-1]

    assert judged({"X-Webhook-Secret": own}).ok
    assert not judged({"X-Webhook-Secret": WEBHOOK_SECRET}).ok
    assert "jwt_key" in judged({"jwt_key": own}).detail
    assert own not in f"{judged({'jwt_key': own})}"


async def test_secrets_are_made_listed_and_retired_by_the_script(
    database: DirectDatabase, capsys: pytest.CaptureFixture[str]
):
    await show_secrets(database, "shop")
    assert "new-secret shop" in capsys.readouterr().out
    await new_secret(database, "shop", None)
    secret = capsys.readouterr().out.splitlines()[0]
    await new_secret(database, "shop", 2)
    capsys.readouterr()
    await show_secrets(database, "shop")
    out = capsys.readouterr().out
    assert secret not in out
    newest, oldest = out.splitlines()
    assert "is accepted until" in oldest
    assert newest.endswith("is accepted")
    await retire_secret(database, "shop", 1, 0)
    assert "is refused since" in capsys.readouterr().out
