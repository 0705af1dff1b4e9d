"""Supabase's REST API as a transport: its keys, what stands before it, what is safe to repeat."""

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from loopback.faults import cut, hang, wrong_answer
from loopback.supabase import Supabase
from router.embedded.ports import free_port
from router.errors import Conflict, DatabaseAway, Invalid
from router.state.migrations import migrate
from router.state.postgrest import SupabaseDatabase
from tests.supabase import TestProject, as_authenticator

TENANT = {"instance_name": "shop", "evo_server_url": "https://evolution.example"}
HTML = "<html><head><title>503</title></head><body>upstream connect error</body></html>"


async def connected(project: Supabase, key: str | None = None) -> SupabaseDatabase:
    return await SupabaseDatabase.connect(project.url, SecretStr(key or project.secret_key))


@pytest.fixture
async def rest(postgrest: TestProject) -> AsyncIterator[SupabaseDatabase]:
    database = await connected(postgrest)
    yield database
    await database.close()


async def refusal(database: SupabaseDatabase) -> str:
    """What is said where nothing works."""
    with pytest.raises(DatabaseAway) as raised:
        await database.call("check_database", {})
    await database.close()
    return str(raised.value)


@pytest.mark.both
async def test_a_call_is_one_request(postgrest: TestProject, rest: SupabaseDatabase):
    created = await rest.call("create_tenant", {"values": TENANT})
    assert created["tenant"]["instance_name"] == "shop"
    assert postgrest.calls == ["create_tenant"]


async def test_calls_one_after_the_other_share_a_connection(
    postgrest: TestProject, rest: SupabaseDatabase
):
    for _ in range(5):
        await rest.call("check_database", {})
    assert len(postgrest.connections) == 1


@pytest.mark.both
@pytest.mark.parametrize("kind", ["secret_key", "service_role_key"])
async def test_both_kinds_of_key_are_good(postgrest: TestProject, kind: str):
    database = await connected(postgrest, getattr(postgrest, kind))
    assert (await database.call("check_database", {}))["tenants"] == 0
    await database.close()


@pytest.mark.both
@pytest.mark.parametrize("checked_by", ["gateway", "postgrest"])
@pytest.mark.parametrize("key", ["another project's", "a secret one that was revoked", "expired"])
async def test_a_wrong_key_is_said_with_the_place_of_the_right_one(
    postgrest: TestProject, key: str, checked_by: str
):
    keys = {
        "another project's": Supabase("postgresql://unused").service_role_key,
        "a secret one that was revoked": "sb_secret_revoked",
        "expired": postgrest.jwt("service_role", exp=1),
    }
    postgrest.checks_keys = checked_by == "gateway"
    said = await refusal(await connected(postgrest, keys[key]))
    assert "SUPABASE_SERVICE_ROLE_KEY" in said
    assert keys[key] not in said


@pytest.mark.both
async def test_a_key_without_the_rights_is_said_to_be_the_wrong_one(
    postgrest: TestProject, caplog: pytest.LogCaptureFixture
):
    said = await refusal(await connected(postgrest, postgrest.jwt("authenticated")))
    assert "permission denied for function check_database" in caplog.text
    assert "permission denied" not in said
    assert "SUPABASE_SERVICE_ROLE_KEY" in said


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (540, None, "paused: restore it in its dashboard"),
        (503, HTML, "503 upstream connect error .*; the project may be paused"),
        (521, "", "overloaded: see its dashboard"),
        (402, {"message": "exceeded quota"}, "restricted the project .exceeded quota.*billing"),
        (429, {"message": "slow down"}, "asked too often"),
        (404, {"message": "no Route matched"}, "set SUPABASE_URL to the Project URL"),
        (308, None, "SUPABASE_URL to the Project URL .*https://"),
        (200, "welcome", "not as Supabase does: set SUPABASE_URL"),
        (503, {"code": "PGRST001", "message": "client error"}, "cannot reach its database"),
        (503, {"code": "PGRST002", "message": "no cache"}, "cannot reach its database"),
        (504, {"code": "PGRST003", "message": "pool"}, "cannot reach its database"),
    ],
)
async def test_what_answers_in_postgrests_place_is_explained(
    postgrest: TestProject, rest: SupabaseDatabase, status: int, body: object, words: str
):
    postgrest.fail(wrong_answer(status, body), times=None)
    with pytest.raises(DatabaseAway, match=words):
        await rest.call("check_database", {})


async def test_a_request_that_is_too_large_is_invalid_and_not_tried_for_ever(
    postgrest: TestProject, rest: SupabaseDatabase
):
    postgrest.fail(wrong_answer(413, HTML))
    with pytest.raises(Invalid, match="too large"):
        await rest.call("create_tenant", {"values": TENANT})


async def test_a_project_whose_name_is_gone_is_said_to_be_paused_or_deleted():
    database = await SupabaseDatabase.connect("http://gone.invalid", SecretStr("sb_secret_x"))
    assert "neither paused nor deleted" in await refusal(database)


async def test_an_address_where_nobody_answers_is_named():
    url = f"http://127.0.0.1:{free_port()}"
    database = await SupabaseDatabase.connect(url, SecretStr("sb_secret_x"))
    assert f"cannot connect to Supabase at {url}" in await refusal(database)


async def test_a_schema_that_is_not_exposed_is_said_with_the_setting(database_url: str):
    with Supabase(as_authenticator(database_url), schemas=["tests"]) as project:
        said = await refusal(await connected(project))
    assert "exposed schemas" in said


@pytest.mark.apart
async def test_a_schema_applied_while_the_router_runs_is_found(empty_database_url: str):
    with Supabase(as_authenticator(empty_database_url)) as project:
        database = await connected(project)
        with pytest.raises(DatabaseAway, match=r"apply database/schema\.sql"):
            await database.call("check_database", {})
        await migrate(empty_database_url)
        assert (await database.call("check_database", {}))["tenants"] == 0
        await database.close()


@pytest.mark.parametrize(("status", "code"), [(404, "PGRST202"), (503, "PGRST002")])
async def test_a_schema_cache_that_is_behind_is_waited_for(
    postgrest: TestProject, rest: SupabaseDatabase, status: int, code: str
):
    postgrest.fail(wrong_answer(status, {"code": code, "message": "not yet"}), times=2)
    await rest.call("create_tenant", {"values": TENANT})
    assert len(postgrest.calls) == 3


async def test_a_deadlock_that_stays_is_told_after_a_few_tries(
    postgrest: TestProject, rest: SupabaseDatabase
):
    """PostgREST before 14 tells of it; later ones carry the call out again themselves."""
    deadlock = {"code": "40P01", "message": "deadlock detected"}
    postgrest.fail(wrong_answer(500, deadlock), times=None)
    with pytest.raises(DatabaseAway):
        await rest.call("check_database", {})
    assert len(postgrest.calls) == 4


@pytest.mark.both
async def test_a_postgrest_that_starts_again_is_connected_to_again(
    postgrest: TestProject, rest: SupabaseDatabase
):
    await rest.call("check_database", {})
    postgrest.stop()
    with pytest.raises(DatabaseAway):
        await rest.call("check_database", {})
    postgrest.start()
    assert (await rest.call("check_database", {}))["tenants"] == 0


@pytest.mark.both
@pytest.mark.parametrize("fault", ["hang", "cut"])
async def test_a_call_whose_answer_was_lost_is_not_repeated_for_it_was_carried_out(
    postgrest: TestProject, rest: SupabaseDatabase, fault: str, monkeypatch: pytest.MonkeyPatch
):
    if fault == "hang":  # what is cut needs no impatience, which a busy machine would use up
        monkeypatch.setattr("router.state.postgrest._TIMEOUT", httpx.Timeout(0.5))
    impatient = await connected(postgrest)
    postgrest.fail(hang(after=True) if fault == "hang" else cut(after=True))
    with pytest.raises(DatabaseAway):
        await impatient.call("create_tenant", {"values": TENANT})
    await impatient.close()
    assert postgrest.calls == ["create_tenant"]
    with pytest.raises(Conflict):
        await rest.call("create_tenant", {"values": TENANT})
