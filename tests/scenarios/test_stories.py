"""Why was there no answer? Asked over the API, and typed as a command."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.state.direct import DirectDatabase
from scripts import turn
from tests.clients import patient
from tests.routers import API_KEY
from tests.scenarios.office import WEBHOOK_SECRET, Office, open_office
from tests.scenarios.stage import BOTH_HANDLERS, Stage
from tests.state.conversation import Conversation


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    async with open_office(database_url) as office:
        yield office


@BOTH_HANDLERS
async def test_a_life_is_told_whoever_made_the_reply(stage: Stage, handler: object):
    await stage.maria.writes("tem bolo?")
    await stage.maria.answered()
    (row,) = await stage.turns_end()
    async with patient(base_url=stage.router_url) as client:
        answer = await client.get(
            f"/api/turns/{row['id']}/story",
            params={"tenant_id": stage.tenant_id},
            headers={"X-API-Key": API_KEY},
        )
    story = answer.json()
    assert story["answer"] == ["It was answered, in one part."]
    kinds = [each["kind"] for each in story["happenings"]]
    life = [
        "message",
        "turn_made",
        "judged",
        "claimed",
        "handled",
        "send",
        "attempt_ended",
        "closed",
    ]
    of_the_turn = [kind for kind in kinds if kind in life]
    # A flow is given its turn before it sends; the fallback's reply is written down by the fence.
    assert of_the_turn == life
    (handled,) = [each for each in story["happenings"] if each["kind"] == "handled"]
    assert handled["facts"]["handler"] == ("n8n" if handler else "fallback")
    assert "bolo" not in answer.text


async def test_the_api_tells_a_turn_and_a_message(office: Office):
    await office.talk.maria_writes("oi", wa_id="AC01")
    await office.talk.answer("Olá!")
    story = await office.get("/api/turns/1/story", tenant_id=1)
    assert (story["turn_id"], story["state"], story["session_id"]) == (1, "sent", 1)
    assert story["answer"] == ["It was answered, in one part."]
    assert await office.get("/api/messages/story", tenant_id=1, wa_id="AC01") == story
    unknown = await office.get("/api/messages/story", tenant_id=1, wa_id="AC404")
    assert (unknown["is_known"], unknown["turn_id"], unknown["happenings"]) == (False, None, [])


async def test_another_tenants_story_is_not_found(office: Office):
    other = await office.talk.open_shop("pharmacy")
    await office.talk.maria_writes("oi", wa_id="AC01")
    await office.get("/api/turns/1/story", 404, tenant_id=other)
    await office.get("/api/turns/2/story", 404, tenant_id=1)
    theirs = await office.get("/api/messages/story", tenant_id=other, wa_id="AC01")
    assert theirs["is_known"] is False


@pytest.mark.parametrize("wa_id", ["", "a b", "a\x00b", "ü", "A" * 251])
async def test_what_is_no_id_of_a_message_is_refused(office: Office, wa_id: str):
    await office.get("/api/messages/story", 422, tenant_id=1, wa_id=wa_id)


# The command


@pytest.fixture
def _typed(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("EVOLUTION_WEBHOOK_SHARED_SECRET", WEBHOOK_SECRET)

    async def converse() -> None:
        database = await DirectDatabase.connect(database_url, size=1)
        talk = Conversation(database)
        await talk.open_shop()
        await talk.open_shop("pharmacy")
        await talk.maria_writes("oi", wa_id="AC01")
        await talk.maria_writes("oi", wa_id="AC02", instance="pharmacy")
        await database.close()

    asyncio.run(converse())


@pytest.mark.usefixtures("_typed")
def test_a_turn_is_told_by_its_number(capsys: pytest.CaptureFixture[str]):
    assert turn.main(["2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Turn 2 of pharmacy (session 2, turn 2, pending)"
    assert said[1].startswith("It is to be answered; the next attempt is due at ")
    assert said[2] == ""
    assert said[3].endswith("  the contact wrote message AC02 (text)")


@pytest.mark.usefixtures("_typed")
def test_a_message_is_found_in_whatever_tenant(capsys: pytest.CaptureFixture[str]):
    assert turn.main(["--message", "AC01"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Message AC01 of shop (session 1, turn 1, pending)\n")


@pytest.mark.usefixtures("_typed")
def test_what_nobody_knows_of_says_what_to_do(capsys: pytest.CaptureFixture[str]):
    for arguments, fault in [
        (["9"], "there is no turn 9"),
        (["--message", "AC404"], "scripts.turn --message AC404 --instance NAME"),
        (["--message", "AC404", "--instance", "nobody"], "no tenant with the instance nobody"),
    ]:
        assert turn.main(arguments) == 1
        assert fault in capsys.readouterr().err
    assert turn.main(["--message", "AC404", "--instance", "shop"]) == 0
    said = capsys.readouterr().out
    assert "This message never arrived here" in said
    assert "/api/instances/shop/test-webhook" in said


@pytest.mark.parametrize("arguments", [[], ["1", "--message", "AC01"], ["one"]])
def test_one_thing_is_named(arguments: list[str]):
    with pytest.raises(SystemExit) as ended:
        turn.main(arguments)
    assert ended.value.code == 2
