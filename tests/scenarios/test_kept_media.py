"""The files that contacts send: kept, given out to who may have them, gone when they must be."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.evolution.contents import Content, document, image, voice
from tests import files
from tests.routers import API_KEY
from tests.scenarios.stage import Stage, performance


@dataclass
class Shelf:
    """A store as its owner sees it."""

    settings: dict[str, str]
    names: Callable[[], list[str]]
    breaks: Callable[[], None]
    heals: Callable[[], None]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    folder = tmp_path / "received"

    def breaks() -> None:
        folder.parent.chmod(0o500)
        folder.write_text("no folder")

    def names() -> list[str]:
        found = (path for path in folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(folder).as_posix() for path in found)

    return Shelf({"MEDIA_FOLDER": str(folder)}, names, lambda: None, lambda: None)


@pytest.fixture
async def stage(
    database_url: str, evolution: Evolution, llm: Anthropic, shelf: Shelf
) -> AsyncIterator[Stage]:
    llm.answers_always("Certo!")
    settings = {"LOOK_AT_MEDIA": "true", "LLM_TIMEOUT": "9", **shelf.settings}
    async with performance(database_url, evolution, llm, **settings) as stage:
        await stage.change(keep_media_days=30)
        yield stage


async def sends(stage: Stage, content: Content, raw: bytes, replies: int = 1) -> int:
    """Maria sends it and is answered; the id of her message."""
    sent = stage.maria.sends(content)
    stage.shop.received[sent.wa_id] = raw
    await sent
    await stage.maria.answered(replies)
    (row,) = await stage.sql("select id from messages where wa_id = $1", sent.wa_id)
    return int(row["id"])


async def ask(stage: Stage, path: str, method: str = "GET", key: str = API_KEY) -> httpx.Response:
    params = {"tenant_id": stage.tenant_id}
    async with httpx.AsyncClient(base_url=stage.router_url) as client:
        return await client.request(
            method, f"/api{path}", headers={"X-API-Key": key}, params=params
        )


async def refused(stage: Stage, message_id: int) -> str:
    answer = await ask(stage, f"/messages/{message_id}/media")
    assert answer.status_code == 404, answer.text
    return str(answer.json()["error"]["code"])


async def test_what_came_is_kept_as_it_came_and_given_to_who_may_have_it(
    stage: Stage, shelf: Shelf
):
    hostile = '../../../etc/cron.d/x";\r\nSet-Cookie: a=b.html'
    page = b"<html><script>alert(1)</script></html>"
    picture = files.picture()
    first = await sends(stage, image("este bolo"), picture)
    second = await sends(stage, document(hostile), page, 2)
    answer = await ask(stage, f"/messages/{first}/media")
    assert (answer.status_code, answer.content) == (200, picture)
    assert answer.headers["Content-Type"] == "image/jpeg"
    wanted = f'attachment; filename="message-{first}.jpg"'
    assert answer.headers["Content-Disposition"] == wanted
    answer = await ask(stage, f"/messages/{second}/media")
    assert (answer.status_code, answer.content) == (200, page)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers
    assert len(shelf.names()) == 2
    assert all(name.startswith(f"{stage.tenant_id}/") for name in shelf.names())
    lines = await stage.sql("select detail from audit_log where action = 'find_kept_file'")
    assert [line["detail"]["message_id"] for line in lines] == [first, second]
    assert (await ask(stage, f"/messages/{first}/media", key="x" * 30)).status_code == 401
    (text,) = await stage.sql("select max(id) as id from messages where from_me")
    assert await refused(stage, text["id"]) == "not_kept"
    assert await refused(stage, 4711) == "not_found"


async def test_a_voice_message_is_kept_though_nobody_listens(stage: Stage, shelf: Shelf):
    sound = files.sound()
    message = await sends(stage, voice(), sound)
    await stage.until("select state from kept_files", lambda rows: rows[0]["state"] == "kept")
    answer = await ask(stage, f"/messages/{message}/media")
    assert answer.content == sound
    assert answer.headers["Content-Type"] == "audio/ogg"


async def test_an_erasure_and_the_end_of_its_days_take_the_file(stage: Stage, shelf: Shelf):
    message = await sends(stage, image(), files.picture())
    exported = await ask(stage, "/contacts/5511955550001/export", "POST")
    (kept,) = exported.json()["kept_files"]
    assert f"/api/messages/{message}/media" in kept["left_out"]
    await ask(stage, "/contacts/5511955550001/erase", "POST")
    await stage.until("select id from kept_files", lambda rows: not rows)
    assert shelf.names() == []
    assert await refused(stage, message) == "not_found"
