"""What the loopback Evolution's webhooks say of sends, of the line to WhatsApp and of the Cloud."""

from typing import Any

import pytest

from loopback.evolution import Business, Customer, Evolution, contents
from loopback.receiver import Received, WebhookReceiver
from tests.clients import patient
from tests.doubles.webhooks import connected, latest


@pytest.fixture
def shop(evolution: Evolution, router: WebhookReceiver) -> Business:
    return connected(evolution.instance("shop"), router)


@pytest.fixture
def maria(shop: Business) -> Customer:
    return shop.customer(lid="199988877700001", identity="pn")


async def test_a_send_is_told_and_its_states_after_it(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    answer = await send(shop, maria, "olá")
    told = await router.gets(3)
    assert [received.event for received in told] == [
        "send.message", "messages.update", "messages.update",
    ]  # fmt: skip
    assert told[0].data == answer
    assert [received.data["status"] for received in told[1:]] == ["DELIVERY_ACK", "READ"]
    assert told[1].data["keyId"] == answer["key"]["id"]


async def test_a_send_can_be_told_before_its_answer_or_never(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.tells_sends = "before"
    await send(shop, maria, "um")
    assert router.received[0].event == "send.message"  # it was there before the answer
    await router.gets(3)
    shop.tells_sends = "never"
    await send(shop, maria, "dois")
    await maria.writes("oi")
    assert len(router.received) == 4
    assert maria.replies == ["um", "dois"]


async def test_our_own_send_can_come_back_as_if_the_owner_had_written(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.tells_sends = "never"
    answer = await send(shop, maria, "olá")
    await shop.echoes(maria)
    echo = await latest(router)
    assert (echo["key"], echo["status"]) == (answer["key"], "SERVER_ACK")
    assert maria.replies == ["olá"]


async def test_a_business_instance_speaks_of_people_as_the_cloud_does(
    router: WebhookReceiver, evolution: Evolution
) -> None:
    cloud = connected(evolution.instance("cloud", channel="WHATSAPP-BUSINESS"), router)
    maria = cloud.customer(lid="199988877700001")
    await maria.sends(contents.button_reply("Sim"))
    [received] = router.received
    assert "sender" not in received.body
    assert received.body["apikey"] == cloud.access_token
    data = received.data
    assert data["key"]["id"].startswith("wamid.")
    assert "remoteJidAlt" not in data["key"]
    assert (data["message"], data["messageType"]) == ({"conversation": "Sim"}, "buttonMessage")
    assert (data["source"], "status" in data) == ("unknown", False)

    hidden = await cloud.owner.writes(maria, "deixa comigo")
    assert (hidden.state, len(router.received)) == ("not wanted", 1)
    assert maria.transcript[-1].author == "owner"

    answer = await send(cloud, maria, "olá")
    told = await router.gets(5)
    assert [each.data["status"] for each in told[2:]] == ["SENT", "DELIVERED", "READ"]
    assert (told[2].data["fromMe"], told[2].data["keyId"]) == (False, answer["key"]["id"])


async def test_the_line_to_whatsapp_breaks_and_comes_back(
    router: WebhookReceiver, shop: Business
) -> None:
    await shop.line.breaks(428)
    await shop.line.connects()
    data = [received.data for received in await router.gets(3)]
    assert [each["state"] for each in data] == ["close", "connecting", "open"]
    assert (data[0]["statusReason"], data[2]["wuid"]) == (428, shop.jid)


async def test_the_instance_is_shown_a_qr_code_logged_out_and_removed(
    router: WebhookReceiver, shop: Business
) -> None:
    await shop.line.shows_qr("2@abc")
    assert (await latest(router))["qrcode"]["code"] == "2@abc"
    await shop.line.gives_up_on_qr()
    assert (await latest(router))["statusCode"] == 500
    await shop.line.is_logged_out()
    assert by_event(router.received[2:]) == {
        "status.instance", "logout.instance", "connection.update",
    }  # fmt: skip
    await shop.line.is_removed()
    assert {"remove.instance", "instance.delete"} <= by_event(await router.gets(10))


def by_event(received: list[Received]) -> set[str]:
    return {each.event for each in received}


async def send(shop: Business, to: Customer, text: str) -> Any:
    url = f"{shop.program.url}/message/sendText/{shop.name}"
    async with patient() as http:
        body = {"number": to.number, "text": text}
        answer = await http.post(url, json=body, headers={"apikey": shop.token})
    assert answer.status_code == 201
    return answer.json()
