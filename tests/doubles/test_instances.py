"""The REST API's calls about an instance: its webhook, its connection, its end."""

from typing import Any

import httpx
import pytest

from loopback.evolution import Business, Evolution


def refusal(answer: httpx.Response) -> tuple[int, Any]:
    body = answer.json()
    assert body["status"] == answer.status_code
    return answer.status_code, body["response"]["message"]


async def test_the_webhook_is_set_and_shown(api: httpx.AsyncClient, shop: Business) -> None:
    assert (await api.get("/webhook/find/shop")).json() is None
    webhook = {"enabled": True, "url": "http://127.0.0.1:9/webhook/shop", "byEvents": True}
    webhook |= {"headers": {"X-Webhook-Secret": "s"}, "base64": True, "events": ["CALL"]}
    answer = await api.post("/webhook/set/shop", json={"webhook": webhook})
    assert answer.status_code == 201
    found = (await api.get("/webhook/find/shop")).json()
    assert found["url"] == "http://127.0.0.1:9/webhook/shop"
    assert (found["enabled"], found["webhookByEvents"], found["webhookBase64"]) == (True,) * 3
    assert (found["headers"], found["events"]) == ({"X-Webhook-Secret": "s"}, ["CALL"])


async def test_an_empty_list_of_events_means_all_and_a_disabled_webhook_none(
    api: httpx.AsyncClient,
) -> None:
    webhook = {"enabled": True, "url": "http://127.0.0.1:9/", "events": []}
    await api.post("/webhook/set/shop", json={"webhook": webhook})
    assert "MESSAGES_UPSERT" in (await api.get("/webhook/find/shop")).json()["events"]
    await api.post("/webhook/set/shop", json={"webhook": webhook | {"enabled": False}})
    assert (await api.get("/webhook/find/shop")).json()["events"] == []


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"enabled": True, "url": "http://x"}, 400, [['instance requires property "webhook"']]),
        ({"webhook": {"enabled": True, "url": "x", "events": []}}, 400, ['Invalid "url" property']),
        (
            {"webhook": {"enabled": True, "url": "http://x"}},
            500,
            "Cannot read properties of undefined (reading 'length')",
        ),
    ],
)
async def test_a_webhook_setting_of_the_wrong_shape_is_refused(
    api: httpx.AsyncClient, body: dict[str, Any], status: int, message: Any
) -> None:
    assert refusal(await api.post("/webhook/set/shop", json=body)) == (status, message)


async def test_an_unknown_event_is_refused(api: httpx.AsyncClient) -> None:
    webhook = {"enabled": True, "url": "http://x", "events": ["CALLBACK"]}
    status, [[message]] = refusal(await api.post("/webhook/set/shop", json={"webhook": webhook}))
    assert status == 400
    assert message.startswith("webhook.events[0] is not one of enum values")


async def test_an_instance_is_made_connected_logged_out_and_deleted(
    api: httpx.AsyncClient, evolution: Evolution
) -> None:
    key = {"apikey": evolution.key}
    made = await api.post("/instance/create", json={"instanceName": "nova"}, headers=key)
    assert (made.status_code, made.json()["instance"]["status"]) == (201, "connecting")
    again = await api.post("/instance/create", json={"instanceName": "nova"}, headers=key)
    assert refusal(again)[0] == 403

    qr = (await api.get("/instance/connect/nova", headers=key)).json()
    assert (qr["count"], qr["code"].startswith("2@")) == (1, True)
    evolution.instance("nova").line.connects()
    opened = {"instance": {"instanceName": "nova", "state": "open"}}
    assert (await api.get("/instance/connectionState/nova", headers=key)).json() == opened
    assert (await api.get("/instance/connect/nova", headers=key)).json() == opened

    out = await api.delete("/instance/logout/nova", headers=key)
    assert out.json()["response"]["message"] == "Instance logged out"
    assert refusal(await api.delete("/instance/logout/nova", headers=key))[0] == 400
    assert (await api.delete("/instance/delete/nova", headers=key)).status_code == 200
    assert (await api.get("/instance/connectionState/nova", headers=key)).status_code == 404


async def test_it_lists_the_bots_that_it_was_given(api: httpx.AsyncClient, shop: Business) -> None:
    assert (await api.get("/typebot/find/shop")).json() is None
    shop.bots["typebot"] = [{"enabled": True}]
    assert (await api.get("/typebot/find/shop")).json() == [{"enabled": True}]
