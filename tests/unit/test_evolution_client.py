"""The client of Evolution's REST against the loopback Evolution, answers lost and found."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from loopback.evolution import Business, Evolution, failures
from loopback.evolution.identifiers import Channel
from loopback.faults import Fault, altered, wrong_answer
from router.evolution.errors import (
    EvolutionAway,
    EvolutionError,
    EvolutionRefused,
    MediaAway,
    MediaRefused,
    NotOnWhatsApp,
    SendInDoubt,
)
from router.evolution.exchange import Instance
from router.evolution.subscription import SUBSCRIBED_EVENTS
from tests.clients import patient
from tests.evolution import WholeEvolution

MARIA = "5511988880001"
MARIA_JID = f"{MARIA}@s.whatsapp.net"
NOW = 1_795_400_000
PATIENCE = 0.3  # seconds: what is never answered ends the wait


@pytest.fixture
def evolution() -> Iterator[Evolution]:
    with Evolution(clock=lambda: NOW) as evolution:
        yield evolution


@pytest.fixture
def shop(evolution: Evolution) -> Business:
    return evolution.instance("shop")


@pytest.fixture
async def client() -> AsyncIterator[WholeEvolution]:
    async with patient() as http:
        yield WholeEvolution(http)


@pytest.fixture
async def hasty_client() -> AsyncIterator[WholeEvolution]:
    # A connection may take its time on a busy machine.
    async with httpx.AsyncClient(timeout=httpx.Timeout(30, read=PATIENCE)) as http:
        yield WholeEvolution(http)


def at(shop: Business, *, key: str | None = None, url: str | None = None) -> Instance:
    return Instance(url or shop.program.url, SecretStr(key or shop.token), shop.name)


async def test_a_text_is_sent_and_its_id_returned(client: WholeEvolution, shop: Business) -> None:
    sent = await client.send_text(at(shop), MARIA, "Olá! 👍\nTudo bem?")
    (message,) = shop.chat_at(MARIA).transcript
    assert (message.wa_id, message.text) == (sent.wa_id, "Olá! 👍\nTudo bem?")
    assert (sent.remote_jid, sent.status) == (MARIA_JID, "PENDING")
    assert shop.calls("sendText")[0].body == {"number": MARIA, "text": "Olá! 👍\nTudo bem?"}


async def test_the_jid_is_what_evolution_says(client: WholeEvolution, shop: Business) -> None:
    shop.fail("sendText", failures.answered_as("551188880001@s.whatsapp.net"))
    assert (await client.send_text(at(shop), MARIA, "x")).remote_jid.startswith("55118888")


async def test_the_cloud_channel_needs_no_status(client: WholeEvolution, shop: Business) -> None:
    shop.fail("sendText", altered(lambda body: {"key": {"id": "wamid.X"}}))
    sent = await client.send_text(at(shop), MARIA, "x")
    assert (sent.wa_id, sent.remote_jid, sent.status) == ("wamid.X", MARIA, None)


@pytest.mark.parametrize(
    ("fault", "error", "on_the_phone"),
    [
        (failures.CUT, SendInDoubt, 0),
        (failures.TAKEN_THEN_CUT, SendInDoubt, 1),
        (failures.NEVER_ANSWERED, SendInDoubt, 0),
        (failures.TAKEN_NEVER_ANSWERED, SendInDoubt, 1),
        (failures.TAKEN_THEN_BROKEN, SendInDoubt, 1),
        (failures.TAKEN_THEN_UNREADABLE, SendInDoubt, 1),
        (failures.BROKEN, SendInDoubt, 0),
        (failures.UNAVAILABLE, SendInDoubt, 0),
        (failures.CONNECTION_CLOSED, EvolutionAway, 0),
        (failures.too_many(7), EvolutionAway, 0),
        (failures.BAD_KEY, EvolutionRefused, 0),
        (failures.NO_INSTANCE, EvolutionRefused, 0),
        (failures.graph_error(), EvolutionRefused, 0),
        (failures.graph_error(131056), EvolutionAway, 0),
        (failures.not_on_whatsapp(MARIA), NotOnWhatsApp, 0),
        (failures.TIMED_OUT, SendInDoubt, 0),
        (failures.TAKEN_THEN_TIMED_OUT, SendInDoubt, 1),
        (failures.META_AWAY, SendInDoubt, 0),
        (failures.TAKEN_THEN_META_AWAY, SendInDoubt, 1),
        (failures.TAKEN_THEN_NOT_STORED, SendInDoubt, 1),
        (failures.MEDIA_NOT_FOUND, EvolutionRefused, 0),  # a text has none
        (failures.UPLOAD_REFUSED, EvolutionAway, 0),
    ],
)
async def test_a_failed_send_says_whether_it_may_be_on_the_phone(
    hasty_client: WholeEvolution,
    shop: Business,
    fault: Fault,
    error: type[EvolutionError],
    on_the_phone: int,
) -> None:
    shop.fail("sendText", fault)
    with pytest.raises(EvolutionError) as raised:
        await hasty_client.send_text(at(shop), MARIA, "Olá")
    assert type(raised.value) is error
    assert shop.token not in str(raised.value)
    assert len(shop.chat_at(MARIA).transcript) == on_the_phone


@pytest.mark.parametrize(
    ("fault", "error"),
    [(failures.MEDIA_NOT_FOUND, MediaRefused), (failures.UPLOAD_REFUSED, MediaAway)],
)
async def test_what_the_media_lacks_is_told_of_the_media(
    hasty_client: WholeEvolution, shop: Business, fault: Fault, error: type[EvolutionError]
) -> None:
    shop.fail("sendMedia", fault)
    picture = {"number": MARIA, "mediatype": "image", "media": "https://x.example/a.png"}
    with pytest.raises(EvolutionError) as raised:
        await hasty_client.send(at(shop), "message/sendMedia", picture)
    assert type(raised.value) is error
    assert not shop.chat_at(MARIA).transcript


async def test_a_429_says_how_long_to_wait(client: WholeEvolution, shop: Business) -> None:
    shop.fail("sendText", failures.too_many(7))
    with pytest.raises(EvolutionAway) as raised:
        await client.send_text(at(shop), MARIA, "x")
    assert raised.value.retry_after == 7


async def test_a_server_that_is_not_there_has_certainly_not_sent(
    client: WholeEvolution, shop: Business, evolution: Evolution
) -> None:
    instance = at(shop)
    evolution.stop()
    with pytest.raises(EvolutionAway):
        await client.send_text(instance, MARIA, "x")


@pytest.mark.parametrize(
    "url", ["", "evolution.example", "ftp://evolution.example", "http://", "http://\x00bad"]
)
async def test_a_bad_address_is_refused_at_once(
    client: WholeEvolution, shop: Business, url: str
) -> None:
    with pytest.raises(EvolutionRefused, match="URL"):
        await client.send_text(Instance(url, SecretStr("key"), "shop"), MARIA, "x")


@pytest.mark.parametrize("key", ["chave-é-secreta", "two\nlines", "nul\x00"])
async def test_a_key_that_no_header_may_hold_is_refused_without_showing_it(
    client: WholeEvolution, shop: Business, key: str
) -> None:
    with pytest.raises(EvolutionRefused) as raised:
        await client.send_text(at(shop, key=key), MARIA, "x")
    assert key not in str(raised.value)
    assert "key" in str(raised.value)


@pytest.mark.parametrize(
    "name", ["Loja do João", "50%", "%41", "what?", "a#b", "a+b&c=d", "👍", 'q"uote', "a;b"]
)
async def test_instances_of_any_name_are_reached(
    client: WholeEvolution, evolution: Evolution, name: str
) -> None:
    shop = evolution.instance(name)
    instance = at(shop, key=evolution.key, url=f"{evolution.url}/")
    await client.send_text(instance, MARIA, "x")
    assert [message.text for message in shop.chat_at(MARIA).transcript] == ["x"]


@pytest.mark.parametrize("name", ["a/b", "b/../a", "a?", "a#"])
async def test_a_name_does_not_reach_another_instance(
    client: WholeEvolution, evolution: Evolution, name: str
) -> None:
    evolution.instance("a")
    evolution.instance("b")
    with pytest.raises(EvolutionRefused, match="404"):
        await client.connection_state(Instance(evolution.url, SecretStr(evolution.key), name))


async def test_typing_is_shown_and_messages_are_marked_as_read(
    client: WholeEvolution, shop: Business
) -> None:
    assert await client.send_presence(at(shop), MARIA, delay_ms=1500)
    assert shop.calls("sendPresence")[0].body == {
        "number": MARIA,
        "presence": "composing",
        "delay": 1500,
    }
    assert await client.mark_read(at(shop), MARIA_JID, ["3A01", "3A02"])
    assert shop.read == ["3A01", "3A02"]


@pytest.mark.parametrize("channel", ["EVOLUTION", "WHATSAPP-BUSINESS"])
async def test_channels_without_presence_and_read_marks_say_no(
    client: WholeEvolution, evolution: Evolution, channel: Channel
) -> None:
    shop = evolution.instance("cloud", channel=channel)
    assert not await client.send_presence(at(shop), MARIA)
    assert not await client.mark_read(at(shop), MARIA_JID, ["3A01"])


async def test_another_refusal_of_presence_is_not_taken_for_that(
    client: WholeEvolution, shop: Business
) -> None:
    with pytest.raises(EvolutionRefused, match="401"):
        await client.send_presence(at(shop, key="wrong"), MARIA)
    shop.fail("markMessageAsRead", failures.CUT)
    with pytest.raises(EvolutionAway):
        await client.mark_read(at(shop), MARIA_JID, ["3A01"])


async def test_stored_messages_come_newest_first_in_pages(
    client: WholeEvolution, shop: Business
) -> None:
    sent = [(await client.send_text(at(shop), MARIA, f"{n}")).wa_id for n in range(5)]
    await client.send_text(at(shop), "5511977770002", "another chat")
    found: list[str] = []
    for number in (1, 2, 3):
        page = await client.find_messages(at(shop), MARIA_JID, page=number, page_size=2)
        assert (page.pages, page.total) == (3, 5)
        found += [record["key"]["id"] for record in page.records]
    assert found == sent[::-1]
    beyond = await client.find_messages(at(shop), MARIA_JID, page=4, page_size=2)
    assert beyond.records == []
    assert (await client.find_messages(at(shop), None)).total == 6


async def test_stored_messages_are_found_from_a_time_on(
    client: WholeEvolution, shop: Business
) -> None:
    await client.send_text(at(shop), MARIA, "x")
    moments = {NOW: 1, NOW + 1: 0, NOW - 3600: 1}
    for moment, total in moments.items():
        since = datetime.fromtimestamp(moment, tz=UTC)
        assert (await client.find_messages(at(shop), MARIA_JID, since=since)).total == total


@pytest.mark.parametrize(
    ("since", "until", "total"),
    [
        (None, NOW, 1),
        (None, NOW - 1, 0),
        (NOW, NOW, 1),
        (NOW + 1, None, 0),
        (0, None, 1),  # Evolution would take 0 for no time
        (-(2**33), None, 1),
        (2**31, None, 0),  # what its column cannot hold
        (NOW, 2**33, 1),
        (4_102_444_800, 4_102_444_800, 0),
    ],
)
async def test_no_time_that_is_asked_for_is_one_that_evolution_refuses(
    client: WholeEvolution,
    shop: Business,
    since: float | None,
    until: float | None,
    total: int,
) -> None:
    await client.send_text(at(shop), MARIA, "x")

    def moment(seconds: float | None) -> datetime | None:
        start = datetime(1969, 12, 31, 21, tzinfo=timezone(timedelta(hours=-3)))
        return None if seconds is None else start + timedelta(seconds=seconds)

    found = await client.find_messages(at(shop), None, since=moment(since), until=moment(until))
    assert found.total == total


async def test_a_message_is_found_by_its_id_however_often_it_is_stored(
    client: WholeEvolution, shop: Business
) -> None:
    await client.send_text(at(shop), MARIA, "another")
    sent = await client.send_text(at(shop), MARIA, "x")
    shop.echoes(shop.chat_at(MARIA))
    found = await client.find_messages(at(shop), None, wa_id=sent.wa_id)
    assert [record["key"]["id"] for record in found.records] == [sent.wa_id] * 2
    elsewhere = await client.find_messages(at(shop), "1@s.whatsapp.net", wa_id=sent.wa_id)
    assert elsewhere.total == 0


async def test_an_id_of_ones_own_choice_goes_out_with_a_text(
    client: WholeEvolution, shop: Business
) -> None:
    sent = await client.send_text(at(shop), MARIA, "x", messageId="3EB0OURS")
    assert shop.calls("sendText")[0].body["messageId"] == "3EB0OURS"
    assert sent.wa_id != "3EB0OURS"  # this is 2.3
    with Evolution(version="2.4.0") as newer:
        shop = newer.instance("shop")
        sent = await client.send_text(at(shop), MARIA, "x", messageId="3EB0OURS")
    assert sent.wa_id == "3EB0OURS"


async def test_a_bare_list_of_messages_is_one_page(client: WholeEvolution, shop: Business) -> None:
    shop.fail("findMessages", wrong_answer(200, [{"key": {"id": "3A01"}}, None]))
    page = await client.find_messages(at(shop), MARIA_JID)
    assert (list(page.records), page.pages) == ([{"key": {"id": "3A01"}}], 1)


@pytest.mark.parametrize("body", [None, "ok", {}, {"messages": None}, {"messages": []}])
async def test_what_is_no_list_of_messages_is_not_taken_for_an_empty_one(
    client: WholeEvolution, shop: Business, body: Any
) -> None:
    shop.fail("findMessages", wrong_answer(200, body))
    with pytest.raises(EvolutionAway, match="not a list of messages"):
        await client.find_messages(at(shop), MARIA_JID)


async def test_the_connections_state_is_told(client: WholeEvolution, shop: Business) -> None:
    assert await client.connection_state(at(shop)) == "open"
    shop.state = "close"
    assert await client.connection_state(at(shop)) == "close"
    nonsense: tuple[Any, ...] = (None, [], {"instance": None})
    for body in nonsense:
        shop.fail("connectionState", wrong_answer(200, body))
        assert await client.connection_state(at(shop)) == "unknown"


async def test_linking_gives_a_qr_code_unless_the_phone_is_linked(
    client: WholeEvolution, shop: Business
) -> None:
    assert (await client.connect(at(shop))).code is None
    shop.state = "close"
    qr = await client.connect(at(shop))
    assert qr.code
    assert qr.base64
    assert qr.base64.startswith("data:image/png;base64,")


async def test_the_webhook_is_set_in_the_nested_form_with_events_and_headers(
    client: WholeEvolution, shop: Business
) -> None:
    headers = {"X-Webhook-Secret": "a-made-up-secret"}
    await client.set_webhook(at(shop), "https://router.example/webhook/shop", headers)
    (call,) = shop.calls("webhook/set")
    assert call.status == 201
    assert call.body == {
        "webhook": {
            "enabled": True,
            "url": "https://router.example/webhook/shop",
            "headers": headers,
            "byEvents": False,
            "base64": False,
            "events": list(SUBSCRIBED_EVENTS),
        }
    }


async def test_the_webhook_that_is_set_is_found(client: WholeEvolution, shop: Business) -> None:
    assert await client.find_webhook(at(shop)) is None
    headers = {"X-Webhook-Secret": "a-made-up-secret"}
    await client.set_webhook(at(shop), "https://router.example/", headers, ["MESSAGES_UPSERT"])
    found = await client.find_webhook(at(shop))
    assert found is not None
    assert (found.url, found.enabled, found.events) == (
        "https://router.example/",
        True,
        ("MESSAGES_UPSERT",),
    )
    assert found.headers == headers
    assert "a-made-up-secret" not in repr(found)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, instance: client.connection_state(instance),
        lambda client, instance: client.find_webhook(instance),
        lambda client, instance: client.connect(instance),
        lambda client, instance: client.find_messages(instance, None),
        lambda client, instance: client.set_webhook(instance, "https://x.example/", {}),
    ],
    ids=["connection_state", "find_webhook", "connect", "find_messages", "set_webhook"],
)
async def test_no_call_but_a_send_is_ever_in_doubt(
    hasty_client: WholeEvolution, shop: Business, ask: Callable[..., Any]
) -> None:
    endpoints = ("connectionState", "webhook/find", "connect", "findMessages", "webhook/set")
    for fault in (failures.CUT, failures.NEVER_ANSWERED, failures.BROKEN, failures.too_many(1)):
        for endpoint in endpoints:
            shop.heal(endpoint)
            shop.fail(endpoint, fault)
        with pytest.raises(EvolutionAway):
            await ask(hasty_client, at(shop))


def test_an_instance_does_not_show_its_key(shop: Business) -> None:
    assert shop.token not in repr(at(shop))
