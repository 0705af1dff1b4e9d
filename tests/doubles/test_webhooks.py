"""How the loopback Evolution delivers webhooks: headers, retries, and what a test does to them."""

import asyncio
import re
from collections.abc import Iterator

import jwt
import pytest

from loopback.connections import serving
from loopback.evolution import Business, Customer, Delivery, Evolution
from loopback.receiver import WebhookReceiver
from loopback.waiting import NeverHappened

MESSAGES = ("MESSAGES_UPSERT",)


@pytest.fixture
def evolution() -> Iterator[Evolution]:
    with Evolution() as evolution:
        evolution.wire.retry_seconds = 0.001
        yield evolution


@pytest.fixture
def shop(evolution: Evolution, router: WebhookReceiver) -> Business:
    shop = evolution.instance("shop")
    shop.sends_webhooks_to(f"{router.url}/webhook/shop", events=MESSAGES)
    return shop


@pytest.fixture
def maria(shop: Business) -> Customer:
    return shop.customer()


def texts(router: WebhookReceiver) -> list[str]:
    return [received.data["message"]["conversation"] for received in router.received]


async def test_headers_are_sent_as_they_were_given(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.sends_webhooks_to(router.url, headers={"X-Webhook-Secret": "ours"}, events=MESSAGES)
    await maria.writes("oi")
    [received] = router.received
    assert received.headers["x-webhook-secret"] == "ours"
    assert received.headers["user-agent"].startswith("axios/")
    assert "authorization" not in received.headers


async def test_a_connection_is_kept_for_the_next_webhook(shop: Business, maria: Customer) -> None:
    """As by axios 1.12.2 on Node 24: three posts, one after the other, came over one connection."""
    posts: list[int] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        posts.append(0)
        while head := await reader.readuntil(b"\r\n\r\n"):
            (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(length))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            posts[-1] += 1

    async with serving(take) as port:
        shop.sends_webhooks_to(f"http://127.0.0.1:{port}", events=MESSAGES)
        for text in ("oi", "tem bolo?", "alô?"):
            await maria.writes(text)
        assert posts == [3]


async def test_the_jwt_key_becomes_a_bearer_token(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    key = "a-key-of-more-than-thirty-two-bytes-0001"
    shop.sends_webhooks_to(router.url, headers={"jwt_key": key}, events=MESSAGES)
    await maria.writes("oi")
    [received] = router.received
    assert "jwt_key" not in received.headers
    token = received.headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, key, algorithms=["HS256"])
    assert (claims["app"], claims["action"]) == ("evolution", "webhook")
    assert claims["exp"] - claims["iat"] == 600


async def test_by_events_appends_the_events_name(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.sends_webhooks_to(f"{router.url}/webhook/shop", by_events=True, events=MESSAGES)
    await maria.writes("oi")
    [received] = router.received
    assert received.path == "/webhook/shop/messages-upsert"
    assert received.body["destination"] == f"{router.url}/webhook/shop"


async def test_only_what_was_subscribed_to_is_sent(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    typing = await maria.types()
    assert (typing.state, router.received) == ("not wanted", [])
    shop.webhooks.setting = None
    assert (await maria.writes("oi")).state == "not wanted"


async def test_a_global_webhook_brings_every_event_twice(
    router: WebhookReceiver, evolution: Evolution, maria: Customer
) -> None:
    evolution.global_webhook = f"{router.url}/global"
    await maria.writes("oi")
    paths = {received.path for received in await router.gets(3)}
    assert paths == {"/webhook/shop", "/global"}  # the global one gets contacts.upsert, too


@pytest.mark.parametrize("status", [500, 503, 429, 409])
async def test_what_is_not_2xx_is_tried_again(
    router: WebhookReceiver, maria: Customer, status: int
) -> None:
    router.statuses = [status, status]
    written = await maria.writes("oi")
    assert written.state == "delivered"
    assert [attempt.status for attempt in written.attempts] == [status, status, 200]
    assert written.answer == {"taken": True}
    assert texts(router) == ["oi"] * 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_some_refusals_are_final(
    router: WebhookReceiver, maria: Customer, status: int
) -> None:
    router.statuses = [status]
    written = await maria.writes("oi")
    assert (written.state, len(written.attempts)) == ("refused", 1)


async def test_after_ten_tries_it_gives_up(router: WebhookReceiver, maria: Customer) -> None:
    router.statuses = [503] * 20
    written = await maria.writes("oi")
    assert (written.state, len(written.attempts)) == ("given up", 10)


async def test_a_router_that_is_away_gets_the_message_when_it_is_back(
    router: WebhookReceiver, evolution: Evolution, maria: Customer
) -> None:
    evolution.wire.retry_seconds = 0.1
    router.stop()
    written = maria.writes("oi")
    await written.first_try()
    assert written.attempts[0].status is None
    assert written.attempts[0].error.startswith("ConnectError")
    router.start()
    assert (await written).state == "delivered"


async def test_the_messages_of_a_chat_arrive_in_order(
    router: WebhookReceiver, maria: Customer
) -> None:
    for number in range(20):
        maria.writes(str(number))
    await router.gets(20)
    assert texts(router) == [str(number) for number in range(20)]


async def test_the_messages_of_a_chat_wait_for_each_other_unless_told_otherwise(
    router: WebhookReceiver, evolution: Evolution, maria: Customer
) -> None:
    gate = router.hold()
    first, second = maria.writes("um"), maria.writes("dois")
    await gate.reached()
    evolution.wire.in_order = False
    third = maria.writes("três")
    await gate.reached(2)
    assert texts(router) == ["um", "três"]
    gate.open()
    for each in (first, second, third):
        await each
    assert texts(router) == ["um", "três", "dois"]


async def test_webhooks_can_be_held_and_let_go_the_newest_first(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.webhooks.hold()
    first, second = maria.writes("um"), maria.writes("dois")
    assert (first.state, second.state, router.received) == ("held", "held", [])
    shop.webhooks.release(newest_first=True)
    await first
    await maria.writes("três")
    assert texts(router) == ["dois", "um", "três"]


async def test_one_held_webhook_can_be_let_go_alone(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.webhooks.hold("messages.upsert")
    maria.writes("um")
    second = maria.writes("dois")
    second.release()
    await second
    assert texts(router) == ["dois"]
    shop.webhooks.release()
    await router.gets(2)
    assert texts(router) == ["dois", "um"]


async def test_a_webhook_can_be_lost_although_the_message_is_stored(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.webhooks.drop("messages.upsert")
    lost = await maria.writes("um")
    assert (lost.state, router.received) == ("dropped", [])
    assert shop.store.get(lost.wa_id) is not None
    shop.webhooks.treat_normally()
    await maria.writes("dois")
    assert texts(router) == ["dois"]


async def test_a_webhook_can_come_twice(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.webhooks.repeat()
    await maria.writes("oi")
    assert texts(router) == ["oi", "oi"]
    assert router.received[0].body == router.received[1].body


async def test_one_webhook_can_be_late_while_newer_ones_overtake_it(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.webhooks.delay(0.3, "messages.upsert", times=1)
    late, quick = maria.writes("um"), maria.writes("dois")
    await quick
    assert (texts(router), late.state) == (["dois"], "under way")
    await late
    assert texts(router) == ["dois", "um"]


async def test_one_webhook_can_come_again_after_a_while(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.webhooks.repeat(seconds=0.3, times=1)
    first, second = maria.writes("um"), maria.writes("dois")
    await second
    assert texts(router) == ["um", "dois"]
    await first
    assert texts(router) == ["um", "dois", "um"]


async def test_what_happens_to_a_webhook_can_be_chosen_by_what_it_tells(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    def is_second(delivery: Delivery) -> bool:
        return bool(delivery.body["data"]["message"] == {"conversation": "dois"})

    shop.webhooks.hold("messages.upsert", when=is_second, times=1)
    await maria.writes("um")
    held = maria.writes("dois")
    await maria.writes("três")
    await maria.writes("dois")
    assert (texts(router), held.state) == (["um", "três", "dois"], "held")
    held.release()
    await held
    assert texts(router) == ["um", "três", "dois", "dois"]


async def test_a_message_can_be_told_of_again_later(
    router: WebhookReceiver, maria: Customer
) -> None:
    oi = await maria.writes("oi")
    await maria.writes("oi", wa_id=oi.wa_id)
    assert len({received.data["key"]["id"] for received in router.received}) == 1
    assert len(maria.transcript) == 1


async def test_what_was_not_delivered_is_lost_when_evolution_stops(
    router: WebhookReceiver, evolution: Evolution, maria: Customer
) -> None:
    evolution.wire.retry_seconds = 600
    router.statuses = [503]
    written = maria.writes("oi")
    await written.first_try()
    evolution.stop()
    assert written.state == "dropped"
    assert maria.writes("anyone?").state == "dropped"
    evolution.start()
    await maria.writes("de novo")
    assert texts(router) == ["oi", "de novo"]


async def test_waiting_for_a_reply_in_vain_tells_the_whole_story(
    router: WebhookReceiver, maria: Customer
) -> None:
    await maria.writes("tem alguém aí?")
    with pytest.raises(NeverHappened, match="customer: tem alguém aí") as error:
        await maria.answered(within=0.01)
    assert "messages.upsert" in str(error.value)


def test_everything_works_without_an_event_loop(router: WebhookReceiver, maria: Customer) -> None:
    assert maria.writes("oi").wait().state == "delivered"


async def test_text_that_is_no_unicode_is_escaped_as_javascript_does(
    router: WebhookReceiver, maria: Customer
) -> None:
    written = await maria.writes("half a face: \ud83d")
    assert written.attempts[0].error == ""
