"""The files that contacts send: kept, given out to who may have them, gone when they must be."""

import base64
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.evolution.contents import Content, document, image, voice
from loopback.faults import cut, wrong_answer
from loopback.supabase import Supabase
from loopback.supabase.storage import Bucket
from tests import files
from tests.clients import patient
from tests.routers import API_KEY
from tests.scenarios.stage import Stage, performance

BUCKET = "received-media"


@dataclass(frozen=True)
class Shelf:
    """A store as its owner sees it."""

    settings: dict[str, str]
    names: Callable[[], list[str]]
    breaks: Callable[[], None]
    heals: Callable[[], None]


def folder_in(path: Path) -> Shelf:
    folder, aside = path / "received", path / "aside"
    folder.mkdir()

    def breaks() -> None:
        folder.rename(aside)
        folder.write_text("the disk is not there")

    def heals() -> None:
        folder.unlink()
        aside.rename(folder)

    def names() -> list[str]:
        found = (each for each in folder.rglob("*") if each.is_file())
        return sorted(each.relative_to(folder).as_posix() for each in found)

    return Shelf({"MEDIA_FOLDER": str(folder)}, names, breaks, heals)


def bucket_of(project: Supabase) -> Shelf:
    full = {"statusCode": "503", "error": "DatabaseReadOnly", "message": "read-only mode"}

    def breaks() -> None:
        for method in ("POST", "DELETE"):
            project.fail(wrong_answer(400, full), function=f"storage {method}", times=None)

    def names() -> list[str]:
        return sorted(project.storage.buckets[BUCKET].objects)

    settings = {
        "SUPABASE_URL": project.url,
        "SUPABASE_SERVICE_ROLE_KEY": project.secret_key,
        "MEDIA_BUCKET": BUCKET,
    }
    return Shelf(settings, names, breaks, project.heal)


@pytest.fixture
def project(database_url: str) -> Iterator[Supabase]:
    """Storage alone is asked: the state has DATABASE_URL."""
    with Supabase(database_url) as project:
        yield project


@pytest.fixture(params=["folder", "bucket"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    if request.param == "folder":
        return folder_in(tmp_path)
    return bucket_of(request.getfixturevalue("project"))


@asynccontextmanager
async def opened(
    database_url: str, evolution: Evolution, llm: Anthropic, shelf: Shelf
) -> AsyncIterator[Stage]:
    llm.answers_always("Certo!")
    settings = {"LOOK_AT_MEDIA": "true", "LLM_TIMEOUT": "9", **shelf.settings}
    async with performance(database_url, evolution, llm, **settings) as stage:
        await stage.change(keep_media_days=30)
        yield stage


@pytest.fixture
async def stage(
    database_url: str, evolution: Evolution, llm: Anthropic, shelf: Shelf
) -> AsyncIterator[Stage]:
    async with opened(database_url, evolution, llm, shelf) as stage:
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
    async with patient(base_url=stage.router_url) as client:
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
    lines = await stage.sql(
        "select detail from audit_log where action = 'find_kept_file' order by id"
    )
    assert [line["detail"]["message_id"] for line in lines] == [first, second]
    assert (await ask(stage, f"/messages/{first}/media", key="x" * 30)).status_code == 401
    (text,) = await stage.sql("select max(id) as id from messages where from_me")
    assert await refused(stage, text["id"]) == "not_kept"
    assert await refused(stage, 4711) == "not_found"


async def test_a_voice_message_is_kept_though_nobody_listens(stage: Stage):
    sound = files.sound()
    message = await sends(stage, voice(), sound)
    await stage.until("select state from kept_files", lambda rows: rows[0]["state"] == "kept")
    answer = await ask(stage, f"/messages/{message}/media")
    assert answer.content == sound
    assert answer.headers["Content-Type"] == "audio/ogg"


async def test_what_comes_inside_of_its_webhook_alone_is_kept_too(stage: Stage):
    shop = await stage.open_cloud_shop()
    await stage.sql("update tenants set keep_media_days = 30")
    joao = shop.customer("5511955550002", name="João")
    picture = files.picture(size=(60, 40))
    await joao.sends(replace(image("este bolo"), raw=picture))
    await joao.answered()
    (row,) = await stage.sql(
        "select f.message_id as id, m.tenant_id from kept_files as f, messages as m"
        " where m.id = f.message_id and f.state = 'kept'"
    )
    async with patient(base_url=stage.router_url) as client:
        answer = await client.get(
            f"/api/messages/{row['id']}/media",
            headers={"X-API-Key": API_KEY},
            params={"tenant_id": row["tenant_id"]},
        )
    assert answer.content == picture
    (job,) = await stage.sql("select content from media_jobs")
    assert job["content"] is None


async def test_an_erasure_and_the_end_of_its_days_take_the_file(stage: Stage, shelf: Shelf):
    message = await sends(stage, image(), files.picture())
    exported = await ask(stage, "/contacts/5511955550001/export", "POST")
    (kept,) = exported.json()["kept_files"]
    assert f"/api/messages/{message}/media" in kept["left_out"]
    await ask(stage, "/contacts/5511955550001/erase", "POST")
    await stage.until("select id from kept_files", lambda rows: not rows)
    assert shelf.names() == []
    assert await refused(stage, message) == "not_found"


async def test_a_store_that_is_away_holds_up_nothing_and_gets_its_file_later(
    stage: Stage, shelf: Shelf
):
    shelf.breaks()
    picture = files.picture()
    message = await sends(stage, image(), picture)
    assert len(stage.maria.replies) == 1
    assert await refused(stage, message) == "not_yet"
    assert len(await stage.sql("select id from kept_files where state = 'waiting'")) == 1
    shelf.heals()
    await stage.time_passes(seconds=40)
    await looked_after(stage)
    await stage.until("select state from kept_files", lambda rows: rows[0]["state"] == "kept")
    assert (await ask(stage, f"/messages/{message}/media")).content == picture
    assert len(shelf.names()) == 1
    # Who is erased meanwhile is erased when it is back, and not forgotten before.
    shelf.breaks()
    await ask(stage, "/contacts/5511955550001/erase", "POST")
    await stage.until("select error from kept_files", lambda rows: rows[0]["error"] is not None)
    shelf.heals()
    assert len(shelf.names()) == 1
    await stage.time_passes(minutes=11)
    await looked_after(stage)
    await stage.until("select id from kept_files", lambda rows: not rows)
    assert shelf.names() == []


async def looked_after(stage: Stage) -> None:
    """Have the router look after files now: somebody else is erased, of whom nothing is known."""
    joao = stage.shop.customer("5511955550002", name="João")
    await joao.writes("oi")
    await joao.answered(len(joao.replies) + 1)
    await ask(stage, "/contacts/5511955550002/erase", "POST")


async def test_the_businesss_own_files_are_in_the_store_and_sent_from_there(
    stage: Stage, shelf: Shelf
):
    first, second = files.picture(), files.picture(size=(60, 40))
    for content in (first, second):
        await own_file(stage, "PUT", content)
    await looked_after(stage)
    await stage.until("select id from kept_files", lambda rows: len(rows) == 1)
    (name,) = shelf.names()
    assert name.startswith(f"{stage.tenant_id}/0/0-")
    assert await stage.sql("select id from tenant_files where content is not null") == []
    stage.llm.answers("Aqui:\n\n[[image:menu]]")
    await stage.maria.writes("tem cardápio?")
    await stage.maria.answered(2)
    (call,) = stage.shop.calls("sendMedia")
    assert base64.b64decode(call.body["media"]) == second
    # A store that is away is no reason to refuse a file: the database has it.
    shelf.breaks()
    await own_file(stage, "PUT", first)
    assert len(await stage.sql("select id from tenant_files where content is not null")) == 1
    shelf.heals()
    await own_file(stage, "DELETE")
    await stage.time_passes(minutes=11)
    await looked_after(stage)
    await stage.until("select id from kept_files", lambda rows: not rows)
    assert shelf.names() == []


async def own_file(stage: Stage, method: str, content: bytes | None = None) -> None:
    given = None
    if content is not None:
        given = {"description": "O cardápio", "content": base64.b64encode(content).decode()}
    async with patient(base_url=stage.router_url) as client:
        answer = await client.request(
            method,
            f"/api/tenants/{stage.tenant_id}/files/menu",
            headers={"X-API-Key": API_KEY},
            json=given,
        )
    assert answer.status_code == 200, answer.text


async def test_a_file_that_somebody_else_took_or_changed_is_not_given_out(
    stage: Stage, shelf: Shelf, tmp_path: Path, request: pytest.FixtureRequest
):
    message = await sends(stage, image(), files.picture())
    (name,) = shelf.names()
    if "MEDIA_FOLDER" in shelf.settings:
        (tmp_path / "received" / name).write_bytes(b"<html>")
    else:
        project = request.getfixturevalue("project")
        project.storage.buckets[BUCKET].objects[name] = (b"<html>", "text/html")
    assert await refused(stage, message) == "lost"


async def test_a_lost_answer_of_storage_writes_nothing_twice_and_no_public_bucket_is_used(
    database_url: str, evolution: Evolution, llm: Anthropic, project: Supabase
):
    project.storage.upserts = False
    project.storage.buckets[BUCKET] = Bucket(is_public=True)
    shelf = bucket_of(project)
    async with opened(database_url, evolution, llm, shelf) as stage:
        await sends(stage, image(), files.picture())
        assert shelf.names() == []
        (row,) = await stage.sql("select state, error from kept_files")
        assert row["state"] == "waiting"
        assert "is public" in row["error"]
        project.storage.buckets[BUCKET].is_public = False
        project.fail(cut(after=True), function="storage POST")
        await stage.time_passes(seconds=40)
        await looked_after(stage)
        await stage.until(
            "select error from kept_files", lambda rows: "cannot be reached" in rows[0]["error"]
        )
        assert len(shelf.names()) == 1
        await stage.time_passes(minutes=2)
        await looked_after(stage)
        await stage.until("select state from kept_files", lambda rows: rows[0]["state"] == "kept")
        assert len(shelf.names()) == 1
        project.storage.buckets[BUCKET].limit = 100
        project.storage.upserts = True
        await sends(stage, image(), files.picture(), 2)
        states = await stage.sql("select state from kept_files order by id")
        assert [row["state"] for row in states] == ["kept", "failed"]
