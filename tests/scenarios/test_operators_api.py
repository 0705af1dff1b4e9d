"""What operators do over REST, told as they do it."""

import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from router.errors import DatabaseAway
from tests.scenarios.office import KEY, OTHER_KEY, Office, build_app, open_office, settings_with
from tests.services import api_services
from tests.state.conversation import JOAO, MARIA, MARIA_LID


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    async with open_office(database_url) as office:
        yield office


# Who may call


async def test_without_configured_keys_the_api_is_closed(database_url: str):
    async with open_office(database_url, API_KEYS=None) as office:
        answer = await office.api.get("/api/tenants", headers={"X-API-Key": ""})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "no_api_keys_configured"
    assert "API_KEYS" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": f"office:{KEY}"},
        {"X-API-Key": "kéy"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"},
    ],
)
async def test_a_missing_or_wrong_key_is_refused(office: Office, headers: dict[str, str]):
    async with httpx.AsyncClient(transport=office.api._transport, base_url="http://r") as stranger:
        raw = {name.encode(): value.encode() for name, value in headers.items()}
        answer = await stranger.get("/api/tenants", headers=raw)
    assert answer.status_code == 401
    assert set(answer.json()["error"]) == {"code", "message"}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": KEY},
        {"X-API-Key": OTHER_KEY},
        {"Authorization": f"Bearer {OTHER_KEY}"},
        {"Authorization": f"bearer {KEY}"},
    ],
)
async def test_every_key_opens_in_either_form(office: Office, headers: dict[str, str]):
    async with httpx.AsyncClient(transport=office.api._transport, base_url="http://r") as caller:
        assert (await caller.get("/api/tenants", headers=headers)).status_code == 200


NEEDS_NO_KEY = ("/api/session", "delete")  # a sign-out takes away the caller's own cookie only


async def test_no_call_of_the_api_works_without_a_key(office: Office):
    routes = office.app.openapi()["paths"]
    assert len(routes) >= 15
    async with httpx.AsyncClient(transport=office.api._transport, base_url="http://r") as stranger:
        for path, methods in routes.items():
            for method in methods:
                if (path, method) == NEEDS_NO_KEY:
                    continue
                url = path.replace("{name}", "shop").replace("{number}", "5511955550001")
                for part in ("tenant_id", "session_id", "turn_id"):
                    url = url.replace(f"{{{part}}}", "1")
                answer = await stranger.request(method, url, params={"tenant_id": 1})
                assert answer.status_code == 401, (method, url)


async def test_the_name_of_the_callers_key_is_logged(
    office: Office, caplog: pytest.LogCaptureFixture
):
    await office.talk.maria_writes("oi")
    with caplog.at_level(logging.INFO):
        await office.api.post(
            "/api/sessions/1/pause", params={"tenant_id": 1}, headers={"X-API-Key": OTHER_KEY}
        )
    (record,) = [r for r in caplog.records if getattr(r, "action", None) == "paused"]
    assert vars(record)["fields"]["caller"] == "night"
    assert OTHER_KEY not in caplog.text


# Pause and resume


async def test_the_guides_way_to_verify_auto_resume(office: Office):
    await office.talk.maria_writes("oi")
    await office.post("/api/sessions/1/pause", tenant_id=1)
    assert (await office.get("/api/sessions/1", tenant_id=1))["is_paused"] is True
    await office.cron()
    assert (await office.get("/api/sessions/1", tenant_id=1))["is_paused"] is True
    await office.talk.travel(hours=2, seconds=1)
    answer = await office.cron()
    assert answer.json() == {"resumed": 1, "turns": 0, "more": False}
    session = await office.get("/api/sessions/1", tenant_id=1)
    assert session["is_paused"] is False
    assert session["resume_source"] == "cron"


async def test_a_pause_cancels_what_was_about_to_be_said(office: Office):
    await office.talk.maria_writes("oi")
    paused = await office.post("/api/sessions/1/pause", tenant_id=1, reason="eu respondo")
    assert paused["cancelled_turns"] == 1
    assert paused["session"]["pause_source"] == "operator"
    assert paused["session"]["pause_reason"] == "eu respondo"
    assert await office.talk.turn_states() == ["cancelled"]


async def test_after_a_resume_what_nobody_answered_is_answered_at_once(office: Office):
    await office.post("/api/contacts/5511955550001/pause", tenant_id=1)
    await office.talk.maria_writes("tem pão?")
    resumed = await office.post("/api/sessions/1/resume", tenant_id=1)
    assert (resumed["resumed"], resumed["turn_id"]) == (True, 1)
    assert office.wakes == 1
    again = await office.post("/api/sessions/1/resume", tenant_id=1)
    assert (again["resumed"], again["turn_id"]) == (False, None)
    assert office.wakes == 1


async def test_an_operators_end_does_not_end_what_the_owner_asked_for_in_another_chat(
    office: Office,
):
    """By phone she is paused for five minutes, by LID the owner writes: both are one person."""
    await office.talk.maria_writes("oi")
    until = (office.talk.now() + timedelta(minutes=5)).isoformat()
    await office.post("/api/sessions/1/pause", tenant_id=1, json={"until": until})
    await office.talk.owner_writes("deixa comigo", jids=[MARIA_LID])
    await office.talk.maria_writes("sou eu", jids=[MARIA_LID, MARIA])
    session = await office.get("/api/sessions/1", tenant_id=1)
    assert datetime.fromisoformat(session["pause_ends_at"]) > office.talk.now() + timedelta(
        minutes=119
    )
    await office.talk.travel(minutes=6)
    assert (await office.cron()).json()["resumed"] == 0
    assert (await office.talk.maria_writes("alô?"))["decision"] == "paused"


@pytest.mark.parametrize("in_body", [True, False])
async def test_a_pause_with_its_own_end_ends_then(office: Office, in_body: bool):
    await office.talk.maria_writes("oi")
    until = (office.talk.now() + timedelta(minutes=30)).isoformat()
    wish = {"json": {"until": until}} if in_body else {"until": until}
    paused = await office.post("/api/sessions/1/pause", tenant_id=1, **wish)
    assert datetime.fromisoformat(paused["session"]["paused_until"]) == datetime.fromisoformat(
        until
    )
    session = await office.get("/api/sessions/1", tenant_id=1)
    assert session["pause_ends_at"] == session["paused_until"]
    await office.talk.travel(minutes=31)
    assert (await office.cron()).json()["resumed"] == 1


@pytest.mark.parametrize("in_body", [True, False])
async def test_an_indefinite_pause_ends_only_by_hand(office: Office, in_body: bool):
    await office.talk.maria_writes("oi")
    wish = {"json": {"indefinite": True}} if in_body else {"indefinite": "true"}
    await office.post("/api/sessions/1/pause", tenant_id=1, **wish)
    await office.talk.travel(days=300)
    assert (await office.cron()).json()["resumed"] == 0
    session = await office.get("/api/sessions/1", tenant_id=1)
    assert (session["pause_indefinite"], session["pause_ends_at"]) == (True, None)
    assert (await office.post("/api/sessions/1/resume", tenant_id=1))["resumed"]


@pytest.mark.parametrize(
    ("wish", "fault"),
    [
        ({"until": "2020-01-01T00:00:00Z"}, "until must be in the future"),
        ({"until": "2999-01-01T00:00:00"}, "until"),
        ({"until": "tomorrow"}, "until"),
        ({"until": "2999-01-01T00:00:00Z", "indefinite": True}, "not both"),
        ({"untl": "2999-01-01T00:00:00Z"}, "untl"),
        ({"reason": "x" * 501}, "reason"),
    ],
)
async def test_a_pause_that_cannot_be_meant_is_refused(
    office: Office, wish: dict[str, object], fault: str
):
    await office.talk.maria_writes("oi")
    answer = await office.post("/api/sessions/1/pause", 422, tenant_id=1, json=wish)
    assert fault in answer["error"]["message"]
    assert not (await office.get("/api/sessions/1", tenant_id=1))["is_paused"]


async def test_a_contact_can_be_paused_before_ever_writing(office: Office):
    paused = await office.post("/api/contacts/+55 (11) 95555-0001/pause", tenant_id=1)
    assert paused["session"]["phone_jid"] == MARIA
    assert (await office.talk.maria_writes("oi"))["decision"] == "paused"
    resumed = await office.post(f"/api/contacts/{MARIA}/resume", tenant_id=1)
    assert resumed["turn_id"] is not None


@pytest.mark.parametrize(
    ("dialled", "known_as"),
    [
        ("5511987650001", "551187650001"),
        ("551187650001", "5511987650001"),
        ("5215555550001", "525555550001"),
        ("541155550001", "5491155550001"),
    ],
)
async def test_a_pause_holds_for_either_spelling_of_a_number(
    office: Office, dialled: str, known_as: str
):
    await office.post(f"/api/contacts/{dialled}/pause", tenant_id=1)
    for spelling in (known_as, dialled):
        decision = await office.talk.maria_writes("oi", jids=[f"{spelling}@s.whatsapp.net"])
        assert decision["decision"] == "paused"


async def test_a_landline_is_not_taken_for_the_mobile_number_that_looks_like_it(office: Office):
    await office.post("/api/contacts/551133330001/pause", tenant_id=1)
    decision = await office.talk.maria_writes("oi", jids=["5511933330001@s.whatsapp.net"])
    assert decision["decision"] == "turn_pending"


@pytest.mark.parametrize("number", ["Maria", "123", "120363025550001@g.us", "0800555000"])
async def test_what_is_no_contact_is_refused_with_an_example(office: Office, number: str):
    answer = await office.post(f"/api/contacts/{number}/pause", 422, tenant_id=1)
    assert "contact must be" in answer["error"]["message"]


# Lists


async def test_lists_are_filtered_and_paged(office: Office):
    await office.talk.maria_writes("oi", ago=30)
    await office.talk.maria_writes("oi", jids=[JOAO], ago=20, author_name="João")
    await office.talk.owner_writes("eu respondo", jids=[JOAO], ago=10)
    first = await office.get("/api/sessions", tenant_id=1, limit=1)
    second = await office.get("/api/sessions", tenant_id=1, limit=1, cursor=first["next_cursor"])
    assert [s["phone_jid"] for s in first["items"] + second["items"]] == [JOAO, MARIA]
    assert second["next_cursor"] is None
    paused = await office.get("/api/sessions", tenant_id=1, paused="true", contact="joão")
    assert [session["phone_jid"] for session in paused["items"]] == [JOAO]
    owner = await office.get("/api/messages", tenant_id=1, sender="owner")
    assert [message["body"] for message in owner["items"]] == ["eu respondo"]
    spoken = await office.get("/api/sessions/1/messages", tenant_id=1, from_me="false")
    assert [message["body"] for message in spoken["items"]] == ["oi"]
    cancelled = await office.get("/api/turns", tenant_id=1, state="cancelled")
    assert [turn["reason"] for turn in cancelled["items"]] == ["takeover"]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/api/sessions", {}),
        ("/api/sessions", {"tenant_id": 0}),
        ("/api/sessions", {"tenant_id": 2**63}),
        ("/api/sessions", {"tenant_id": 1, "pasued": "true"}),
        ("/api/sessions", {"tenant_id": 1, "limit": 201}),
        ("/api/sessions", {"tenant_id": 1, "cursor": "nonsense"}),
        ("/api/sessions", {"tenant_id": 1, "active_since": "yesterday"}),
        ("/api/sessions", {"tenant_id": 1, "contact": "\x00"}),
        ("/api/messages", {"tenant_id": 1, "sender": "bot"}),
        ("/api/turns", {"tenant_id": 1, "state": "failed"}),
        ("/api/sessions/abc", {"tenant_id": 1}),
        ("/api/turns/99999999999999999999", {"tenant_id": 1}),
    ],
)
async def test_a_request_that_cannot_be_meant_is_422_in_the_one_shape(
    office: Office, path: str, query: dict[str, object]
):
    answer = await office.get(path, 422, **query)
    assert answer["error"]["code"] == "invalid"
    assert answer["error"]["message"]


async def test_another_tenants_things_are_not_found(office: Office):
    await office.talk.open_shop("others")
    await office.talk.maria_writes("oi")
    for path in ("/api/sessions/1", "/api/sessions/1/messages", "/api/turns/1"):
        answer = await office.get(path, 404, tenant_id=2)
        assert answer["error"]["code"] == "not_found"
    for path in ("sessions/1/pause", "sessions/1/resume", "turns/1/retry"):
        await office.post(f"/api/{path}", 404, tenant_id=2)
    assert (await office.post("/api/turns/retry", json={}, tenant_id=2))["retried"] == 0
    await office.post("/api/turns/retry", 404, json={}, tenant_id=99)
    for path in ("sessions", "messages", "turns"):
        assert (await office.get(f"/api/{path}", tenant_id=2))["items"] == []
        await office.get(f"/api/{path}", 404, tenant_id=99)


async def test_an_unknown_path_has_the_one_shape_too(office: Office):
    assert (await office.get("/api/nothing", 404))["error"]["code"] == "not_found"
    assert (await office.post("/api/sessions", 405))["error"]["code"] == "method_not_allowed"


# Turns


async def test_a_dead_turn_is_found_and_tried_again(office: Office):
    await office.talk.maria_writes("oi")
    turn = await office.talk.claim_one()
    await office.talk.fail(turn, "permanent")
    (dead,) = (await office.get("/api/turns", tenant_id=1, state="dead"))["items"]
    assert dead["error"] == "it did not work"
    retried = await office.post(f"/api/turns/{dead['id']}/retry", tenant_id=1)
    assert (retried["state"], retried["attempt"]) == ("pending", 0)
    assert office.wakes == 1
    conflict = await office.post(f"/api/turns/{dead['id']}/retry", 409, tenant_id=1)
    assert conflict["error"]["code"] == "conflict"
    assert "only a dead turn" in conflict["error"]["message"]


async def test_many_dead_turns_are_tried_again(office: Office):
    for number in range(3):
        await office.talk.maria_writes("oi", jids=[f"551190000000{number}@s.whatsapp.net"])
        await office.talk.fail(await office.talk.claim_one(), "permanent")
    first = await office.post(
        "/api/turns/retry", json={"limit": 2, "reason": "failed"}, tenant_id=1
    )
    assert (first["retried"], first["left"], office.wakes) == (2, 0, 1)
    rest = {"reason": "failed", "cursor": first["next_cursor"]}
    for retried in (1, 0):
        again = await office.post("/api/turns/retry", json=rest, tenant_id=1)
        assert again == {"retried": retried, "left": 0, "next_cursor": None}
    assert office.wakes == 2
    (line, *_) = (await office.get("/api/audit", tenant_id=1))["items"]
    assert (line["action"], line["detail"]) == ("retry_turns", {"retried": 0, "reason": "failed"})


@pytest.mark.parametrize(
    "which",
    [
        *({"state": "dead"}, {"reason": "unlucky"}, {"limit": 0}, {"limit": 201}, {"since": 5}),
        *({"until": "yesterday"}, {"cursor": "x"}, [], None),
    ],
)
async def test_many_turns_that_cannot_be_meant_are_refused(office: Office, which: object):
    await office.post("/api/turns/retry", 422, json=which, tenant_id=1)
    assert office.wakes == 0


async def test_a_turn_is_read_with_its_messages_and_without_its_token(office: Office):
    await office.talk.maria_writes("oi")
    await office.talk.answer("Olá!")
    turn = await office.get("/api/turns/1", tenant_id=1)
    assert [message["body"] for message in turn["messages"]] == ["oi", "Olá!"]
    assert turn["reply"] == ["Olá!"]
    assert "token" not in turn


# Cron


@pytest.mark.parametrize("secret", [None, "", "wrong"])
async def test_cron_needs_its_secret(office: Office, secret: str | None):
    answer = await office.cron(secret)
    assert answer.status_code == 401
    assert "X-Cron-Secret" in answer.json()["error"]["message"]


async def test_cron_without_a_configured_secret_is_closed(database_url: str):
    async with open_office(database_url, CRON_SECRET=None) as office:
        answer = await office.cron("anything")
    assert answer.status_code == 401
    assert "CRON_SECRET is not configured" in answer.json()["error"]["message"]


async def test_cron_says_in_the_log_how_many_it_resumed(
    office: Office, caplog: pytest.LogCaptureFixture
):
    for jid in (MARIA, JOAO):
        await office.talk.owner_writes("eu respondo", jids=[jid])
    await office.talk.travel(hours=1, minutes=59)
    await office.talk.maria_writes("e aí?")
    await office.talk.travel(minutes=2)
    with caplog.at_level(logging.INFO):
        assert (await office.cron()).json() == {"resumed": 2, "turns": 1, "more": False}
    (record,) = [r for r in caplog.records if getattr(r, "action", None) == "auto_resumed"]
    assert record.getMessage() == "Auto-resumed 2 sessions"
    assert office.wakes == 1


# The shape of the API


async def test_a_database_that_is_away_is_503_with_retry_after():
    class Away:
        connections = 10

        async def call(self, function: str, argument: object) -> Any:
            raise DatabaseAway("the database did not answer")

    nothing: Any = None
    app = build_app(api_services(settings_with({}), Away(), nothing, nothing))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://r", headers={"X-API-Key": KEY}
    ) as caller:
        answer = await caller.get("/api/tenants")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["error"]["code"] == "database_away"


async def test_every_operation_is_documented(office: Office):
    schema = office.app.openapi()
    operations = [op for path in schema["paths"].values() for op in path.values()]
    for operation in operations:
        assert operation["summary"]
        assert operation["tags"]
        if operation["operationId"] == "end_sign_in":
            assert list(operation["responses"]) == ["204"]  # it needs no key, and says nothing
            continue
        assert operation["security"]
        (success,) = [code for code in operation["responses"] if code.startswith("2")]
        if operation["operationId"] == "follow_changes":
            assert list(operation["responses"][success]["content"]) == ["text/event-stream"]
            continue
        if operation["operationId"] == "get_media":
            assert list(operation["responses"][success]["content"]) == ["application/octet-stream"]
            continue
        content = operation["responses"][success]["content"]["application/json"]
        assert content["schema"].get("$ref"), operation["summary"]
