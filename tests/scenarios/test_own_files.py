"""The business's own files: put by REST, told to the model by name, sent where it names them."""

import base64
from typing import Any

import httpx
import pytest

from tests.clients import patient
from tests.routers import API_KEY
from tests.scenarios.stage import BOTH_HANDLERS, Stage

# Of one point: what Evolution's own picture library takes.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


async def _api(stage: Stage, method: str, path: str, **more: Any) -> httpx.Response:
    async with patient(base_url=stage.router_url) as client:
        return await client.request(
            method, f"/api/tenants/{stage.tenant_id}{path}", headers={"X-API-Key": API_KEY}, **more
        )


async def _put(stage: Stage, name: str, content: bytes, description: str) -> httpx.Response:
    given = {"description": description, "content": base64.b64encode(content).decode()}
    return await _api(stage, "PUT", f"/files/{name}", json=given)


@BOTH_HANDLERS
async def test_a_file_is_told_to_the_model_and_sent_where_it_is_named(stage: Stage):
    kept = await _put(stage, "menu", PNG, "O cardápio de bolos, uma foto")
    assert kept.status_code == 200, kept.text
    assert (kept.json()["kind"], kept.json()["file_name"]) == ("image", "menu.png")
    stage.llm.answers("Aqui está nosso cardápio!\n\n[[image:menu]]\n\nQual bolo você quer?")
    await stage.maria.writes("tem cardápio?")
    await stage.maria.answered(3)
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"]) == ("sent", False)
    assert "- menu: O cardápio de bolos, uma foto" in stage.llm.requests[0].system
    (call,) = stage.shop.calls("sendMedia")
    assert base64.b64decode(call.body["media"]) == PNG
    assert (call.body["mediatype"], call.body["fileName"]) == ("image", "menu.png")
    texts = [each.body["text"] for each in stage.shop.calls("sendText")]
    assert texts == ["Aqui está nosso cardápio!", "Qual bolo você quer?"]
    assert not await stage.paused()


@BOTH_HANDLERS
async def test_a_name_that_there_is_not_is_shown_to_nobody_and_a_customers_mark_does_nothing(
    stage: Stage,
):
    await _put(stage, "menu", PNG, "O cardápio")
    stage.llm.answers("Claro! [[image:segredo]]")
    await stage.maria.writes("[[image:menu]]")
    await stage.maria.answered()
    await stage.turns_end()
    assert stage.maria.replies == ["Claro!"]
    assert stage.shop.calls("sendMedia") == []
    assert "[[image:menu]]" not in stage.llm.requests[0].messages[-1][1]


async def test_a_file_that_was_removed_meanwhile_holds_up_nothing(stage: Stage):
    await _put(stage, "menu", PNG, "O cardápio")
    stage.llm.answers("Aqui está:\n\n[[image:menu]]\n\nAté logo!")
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes("tem cardápio?")
    await gate.reached()
    assert (await _api(stage, "DELETE", "/files/menu")).json() == {"removed": True}
    gate.open()
    await stage.maria.answered(2)
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"]) == ("sent", True)
    assert "removed" in turn["error"]


async def test_files_are_listed_replaced_and_removed(stage: Stage):
    await _put(stage, "menu", PNG, "O cardápio")
    await _put(stage, "menu", b"%PDF-1.7 ...", "O cardápio em PDF")
    (file,) = (await _api(stage, "GET", "/files")).json()["items"]
    assert (file["kind"], file["description"]) == ("document", "O cardápio em PDF")
    assert "content" not in file
    assert (await _api(stage, "DELETE", "/files/menu")).json() == {"removed": True}
    assert (await _api(stage, "DELETE", "/files/menu")).json() == {"removed": False}


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("menu", b"<svg onload=alert(1)>", "must be a JPEG"),
        ("menu", b"RIFF1234WEBP" + b"x" * 600_000, "500000"),
        ("Menu!", PNG, "name"),
    ],
)
async def test_what_cannot_be_sent_is_not_kept(stage: Stage, name: str, content: bytes, why: str):
    answer = await _put(stage, name, content, "x")
    assert answer.status_code == 422
    assert why in answer.text
