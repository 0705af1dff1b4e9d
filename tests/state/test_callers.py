"""What a caller may do, decided by SQL: roles in tenants, keys, members, the audit log."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from router.errors import Conflict, Invalid, NotAllowed, NotFound, UnknownCaller
from router.gate.identity import make_api_key
from router.safety.unseen import in_one_line, without_unseen
from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import POLICY, Conversation

BOSS = {"kind": "deployment", "name": "boss"}
ANA = {"kind": "user", "user_id": "0198c0de-0000-7000-8000-00000000a11a"}
BIA = {"kind": "user", "user_id": "0198c0de-0000-7000-8000-00000000b1a0"}
READING = ["get_tenant", "get_spending", "list_sessions", "list_messages", "list_turns"]


async def call(
    talk: Conversation, caller: Mapping[str, object], function: str, **given: Any
) -> Any:
    asked = {"caller": caller, "function": function, "argument": given}
    return (await talk.database.call("as_operator", asked))["result"]


async def key_for(
    talk: Conversation, role: str, *tenant_ids: int, by: Json = BOSS, **more: Any
) -> Json:
    new = make_api_key()
    kept = await call(
        talk,
        by,
        "create_api_key",
        name=f"key of a {role}",
        role=role,
        tenant_ids=list(tenant_ids) or None,
        key_hash=new.key_hash,
        starts_with=new.starts_with,
        **more,
    )
    return {"kind": "key", "key_hash": new.key_hash, "id": kept["api_key"]["id"]}


async def lines(talk: Conversation, **where: Any) -> list[Json]:
    found = await call(talk, BOSS, "list_audit", **where)
    items: list[Json] = found["items"]
    return items


@pytest.fixture
async def other(talk: Conversation) -> int:
    """Another business, with a session of its own."""
    tenant_id = await talk.open_shop("pharmacy")
    await talk.maria_writes("oi", instance="pharmacy")
    await talk.maria_writes("oi")
    return tenant_id


async def test_a_viewer_reads_its_tenant_and_changes_nothing(talk: Conversation, other: int):
    viewer = await key_for(talk, "viewer", 1)
    for function in READING:
        await call(talk, viewer, function, tenant_id=1, policy=POLICY)
    for function in ("pause_session", "change_tenant", "list_members", "list_audit", "get_qrcode"):
        with pytest.raises(NotAllowed, match="this needs the role"):
            await call(talk, viewer, function, tenant_id=1, session_id=2, source="operator")


async def test_an_operator_pauses_and_changes_no_settings(talk: Conversation, other: int):
    operator = await key_for(talk, "operator", 1)
    argument = {"tenant_id": 1, "session_id": 2, "source": "operator", "policy": POLICY}
    paused = await call(talk, operator, "pause_session", **argument)
    assert paused["session"]["is_paused"] is True
    with pytest.raises(NotAllowed, match="admin"):
        await call(talk, operator, "change_tenant", tenant_id=1, values={"is_active": False})


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
async def test_of_another_tenant_nobody_learns_even_that_it_exists(
    talk: Conversation, other: int, role: str
):
    key = await key_for(talk, role, 1)
    calls = await talk.sql("select name from hybridflow.operator_calls() where needs <> 'anybody'")
    for name in [
        row["name"]
        for row in calls
        if row["name"] not in ("create_tenant", "reserve_tenant", "find_turn")
    ]:
        argument = {"session_id": 1, "turn_id": 1, "values": {}, "policy": POLICY}
        with pytest.raises(NotFound) as theirs:
            await call(talk, key, name, tenant_id=other, **argument)
        with pytest.raises(NotFound) as nobodys:
            await call(talk, key, name, tenant_id=999, **argument)
        assert str(theirs.value) == str(nobodys.value).replace("999", str(other)), name
    with pytest.raises(NotFound, match="no tenant with the instance pharmacy"):
        await call(talk, key, "get_instance", instance_name="pharmacy")
    with pytest.raises(NotFound, match="no tenant with the instance nobody"):
        await call(talk, key, "get_instance", instance_name="nobody")


async def test_a_session_of_another_tenant_is_not_reached_through_ones_own(
    talk: Conversation, other: int
):
    admin = await key_for(talk, "admin", 1)
    (theirs,) = await talk.sql("select id from sessions where tenant_id = $1", other)
    (turn,) = await talk.sql("select id from turns where tenant_id = $1", other)
    own = {"tenant_id": 1, "policy": POLICY, "source": "operator"}
    for function in (
        "get_session",
        "list_messages",
        "pause_session",
        "resume_session",
        "list_turns",
    ):
        with pytest.raises(NotFound):
            await call(talk, admin, function, session_id=theirs["id"], **own)
    for function in ("get_turn", "retry_turn", "tell_turn"):
        with pytest.raises(NotFound):
            await call(talk, admin, function, turn_id=turn["id"], **own)
    with pytest.raises(Invalid, match="not both"):
        await call(talk, admin, "get_instance", tenant_id=1, instance_name="pharmacy")


async def test_what_is_not_for_operators_cannot_be_called_at_all(talk: Conversation):
    names = await talk.sql(
        "select proname from pg_proc where pronamespace = 'public'::regnamespace"
        " and proname not in (select name from hybridflow.operator_calls())"
    )
    assert len(names) > 20
    for name in [row["proname"] for row in names] + ["pg_sleep", "hybridflow.clock"]:
        with pytest.raises(NotAllowed, match="nobody may call"):
            await call(talk, BOSS, name, tenant_id=1)


async def test_lists_of_tenants_show_ones_own(talk: Conversation, other: int):
    assert len((await call(talk, BOSS, "list_tenants"))["items"]) == 2
    key = await key_for(talk, "viewer", other)
    (seen,) = (await call(talk, key, "list_tenants"))["items"]
    assert seen["instance_name"] == "pharmacy"
    every = await key_for(talk, "viewer")
    assert len((await call(talk, every, "list_tenants"))["items"]) == 2
    assert (await call(talk, ANA, "list_tenants"))["items"] == []


async def test_members_have_their_role_in_their_tenant_alone_and_lose_it_at_once(
    talk: Conversation, other: int
):
    user_id = ANA["user_id"]
    with pytest.raises(NotFound):
        await call(talk, ANA, "get_tenant", tenant_id=1)
    await call(talk, BOSS, "set_member", tenant_id=1, user_id=user_id, role="viewer")
    assert (await call(talk, ANA, "get_tenant", tenant_id=1))["tenant"]["id"] == 1
    with pytest.raises(NotFound):
        await call(talk, ANA, "get_tenant", tenant_id=other)
    await call(talk, BOSS, "set_member", tenant_id=1, user_id=user_id, role="admin")
    await call(talk, ANA, "set_member", tenant_id=1, user_id=BIA["user_id"], role="operator")
    (first, second) = (await call(talk, ANA, "list_members", tenant_id=1))["items"]
    assert (first["role"], first["created_by"]) == ("admin", "boss")
    assert (second["role"], second["created_by"]) == ("operator", user_id)
    await call(talk, BOSS, "remove_member", tenant_id=1, user_id=user_id)
    with pytest.raises(NotFound):
        await call(talk, ANA, "get_tenant", tenant_id=1)


async def test_a_key_ends_when_it_is_revoked_or_its_time_is_over(talk: Conversation):
    key = await key_for(talk, "viewer", 1)
    await call(talk, key, "get_tenant", tenant_id=1)
    revoked = await call(talk, BOSS, "revoke_api_key", api_key_id=key["id"])
    assert revoked["api_key"]["is_active"] is False
    with pytest.raises(UnknownCaller, match="was revoked"):
        await call(talk, key, "get_tenant", tenant_id=1)
    tomorrow = (talk.now().replace(microsecond=0)).isoformat()
    with pytest.raises(Invalid, match="in the future"):
        await key_for(talk, "viewer", 1, expires_at=tomorrow)
    await talk.travel(hours=-1)
    lasting = await key_for(talk, "viewer", 1, expires_at=tomorrow)
    await call(talk, lasting, "get_tenant", tenant_id=1)
    await talk.travel(hours=2)
    with pytest.raises(UnknownCaller, match="has expired"):
        await call(talk, lasting, "get_tenant", tenant_id=1)
    with pytest.raises(UnknownCaller, match="not known"):
        await call(talk, {"kind": "key", "key_hash": "00" * 32}, "list_tenants")
    with pytest.raises(UnknownCaller):
        await call(talk, {}, "list_tenants")


async def test_an_admin_makes_and_sees_keys_for_its_own_tenants_alone(
    talk: Conversation, other: int
):
    admin = await key_for(talk, "admin", 1)
    mine = await key_for(talk, "operator", 1, by=admin)
    theirs = await key_for(talk, "viewer", other)
    both = await key_for(talk, "viewer", 1, other)
    every = await key_for(talk, "viewer")
    with pytest.raises(NotFound):
        await key_for(talk, "viewer", 1, other, by=admin)
    with pytest.raises(NotAllowed, match="for every tenant"):
        await key_for(talk, "viewer", by=admin)
    with pytest.raises(NotAllowed):
        await key_for(talk, "viewer", 1, by=mine)
    seen = [key["id"] for key in (await call(talk, admin, "list_api_keys"))["items"]]
    assert seen == [mine["id"], admin["id"]]
    for key in (theirs, both, every):
        with pytest.raises(NotFound):
            await call(talk, admin, "revoke_api_key", api_key_id=key["id"])
    await call(talk, admin, "revoke_api_key", api_key_id=mine["id"])
    assert (await call(talk, mine | {"kind": "user", "user_id": ANA["user_id"]}, "list_api_keys"))[
        "items"
    ] == []


async def test_only_who_has_every_tenant_as_admin_makes_tenants(talk: Conversation):
    values = {"instance_name": "new", "evo_server_url": "https://evolution.example"}
    for caller in (await key_for(talk, "admin", 1), await key_for(talk, "operator"), ANA):
        with pytest.raises(NotAllowed):
            await call(talk, caller, "create_tenant", values=values)
    made = await call(talk, await key_for(talk, "admin"), "create_tenant", values=values)
    assert made["tenant"]["instance_name"] == "new"
    assert "audit" not in made


async def test_what_is_done_is_audited_with_who_and_what_and_without_content(talk: Conversation):
    await talk.maria_writes("um segredo meu")
    operator = await key_for(talk, "operator", 1)
    own = {"tenant_id": 1, "session_id": 1, "source": "operator", "policy": POLICY}
    await call(
        talk, operator, "pause_session", reason="eu falo com a Maria", indefinite=True, **own
    )
    await call(talk, operator, "get_session", **own)
    await call(talk, operator, "resume_session", **own)
    prompt = {"system_prompt": "Be brief.", "notify_url": "https://t.example/secret"}
    await call(talk, BOSS, "change_tenant", tenant_id=1, values=prompt)
    changed, resumed, paused, made = await lines(talk)
    assert (made["action"], made["caller_kind"], made["caller"]) == (
        "create_api_key", "deployment", "boss",
    )  # fmt: skip
    assert made["detail"]["role"] == "operator"
    assert (paused["caller_kind"], paused["caller"]) == ("key", "key of a operator")
    assert (paused["session_id"], paused["tenant_id"]) == (1, 1)
    assert paused["detail"] == {"indefinite": True}
    assert resumed["action"] == "resume_session"
    assert changed["detail"] == {
        "system_prompt": {"from": "Be kind.", "to": "Be brief."}, "notify_url": {},
    }  # fmt: skip
    assert not {"Maria", "segredo"} & set(str(await lines(talk)).split())


async def test_what_was_refused_is_not_in_the_log_as_done(talk: Conversation):
    viewer = await key_for(talk, "viewer", 1)
    before = len(await lines(talk))
    for function in ("change_tenant", "pause_session"):
        with pytest.raises(NotAllowed):
            await call(talk, viewer, function, tenant_id=1, values={})
    with pytest.raises(NotFound):
        await call(talk, BOSS, "pause_session", tenant_id=1, session_id=99, source="operator")
    assert len(await lines(talk)) == before


async def test_pauses_that_nobody_asked_for_over_the_api_are_audited_with_their_source(
    talk: Conversation,
):
    await talk.maria_writes("oi")
    await talk.owner_writes("deixa comigo")
    await talk.owner_writes("mais uma")
    await talk.travel(hours=3)
    await talk.database.call("auto_resume", {"policy": POLICY})
    told = [(line["action"], line["caller"], line["session_id"]) for line in await lines(talk)]
    assert told == [("resume_session", "cron", 1), ("pause_session", "owner", 1)]


async def test_the_log_is_read_by_filter_and_by_admins_alone(talk: Conversation, other: int):
    admin = await key_for(talk, "admin", 1)
    await talk.owner_writes("oi", instance="pharmacy")
    await talk.owner_writes("oi")
    mine = await call(talk, admin, "list_audit", tenant_id=1, action="pause_session")
    assert [line["tenant_id"] for line in mine["items"]] == [1]
    with pytest.raises(NotFound):
        await call(talk, admin, "list_audit", tenant_id=other)
    with pytest.raises(NotAllowed):
        await call(talk, admin, "list_audit")
    every = await lines(talk, action="pause_session", limit=1)
    assert len(every) == 1
    assert await lines(talk, caller_name="boss", since="2100-01-01T00:00:00Z") == []


async def test_the_log_cannot_be_changed(talk: Conversation):
    await key_for(talk, "viewer", 1)
    for statement in (
        "update audit_log set caller = 'me'",
        "delete from audit_log",
        "truncate audit_log",
    ):
        with pytest.raises(Exception, match="append-only"):
            await talk.sql(statement)
    assert len(await lines(talk)) == 1


async def test_that_a_key_was_used_is_noted_to_the_minute(talk: Conversation):
    key = await key_for(talk, "viewer", 1)
    await call(talk, key, "get_tenant", tenant_id=1)
    (first,) = (await call(talk, BOSS, "list_api_keys"))["items"]
    await talk.travel(seconds=30)
    await call(talk, key, "get_tenant", tenant_id=1)
    (second,) = (await call(talk, BOSS, "list_api_keys"))["items"]
    assert first["last_used_at"] is not None
    assert second["last_used_at"] == first["last_used_at"]


# --- what a member leaves behind


async def joins(talk: Conversation, user: Json, role: str, *tenant_ids: int) -> None:
    for tenant_id in tenant_ids:
        await call(
            talk, BOSS, "set_member", tenant_id=tenant_id, user_id=user["user_id"], role=role
        )


async def leaves(talk: Conversation, user: Json, tenant_id: int) -> None:
    await call(talk, BOSS, "remove_member", tenant_id=tenant_id, user_id=user["user_id"])


@pytest.mark.parametrize("how", ["removed", "made less", "deleted by hand", "comes back"])
async def test_a_key_that_a_member_made_ends_with_the_membership(talk: Conversation, how: str):
    await joins(talk, ANA, "admin", 1)
    first = await key_for(talk, "admin", 1, by=ANA)
    second = await key_for(talk, "operator", 1, by=first)  # with a key that she made
    third = await key_for(talk, "admin", 1, by=first)
    fourth = await key_for(talk, "admin", 1, by=third)
    owners = await key_for(talk, "admin", 1)
    if how == "made less":
        await joins(talk, ANA, "viewer", 1)
    elif how == "deleted by hand":
        await talk.sql("delete from memberships")
    else:
        await leaves(talk, ANA, 1)
    if how == "comes back":
        await joins(talk, ANA, "admin", 1)
    for key in (first, second, third, fourth):
        with pytest.raises(UnknownCaller, match="was revoked"):
            await call(talk, key, "get_tenant", tenant_id=1)
    assert (await call(talk, owners, "get_tenant", tenant_id=1))["tenant"]["id"] == 1


async def test_a_member_made_less_keeps_the_keys_that_do_no_more_than_it_may(talk: Conversation):
    await joins(talk, ANA, "admin", 1)
    viewer = await key_for(talk, "viewer", 1, by=ANA)
    await joins(talk, ANA, "operator", 1)
    assert (await call(talk, viewer, "get_tenant", tenant_id=1))["tenant"]["id"] == 1


async def test_a_key_of_two_tenants_goes_on_where_its_maker_is_a_member(
    talk: Conversation, other: int
):
    await joins(talk, ANA, "admin", 1, other)
    key = await key_for(talk, "viewer", 1, other, by=ANA)
    await leaves(talk, ANA, 1)
    with pytest.raises(NotFound):
        await call(talk, key, "get_tenant", tenant_id=1)
    assert (await call(talk, key, "get_tenant", tenant_id=other))["tenant"]["id"] == other
    await leaves(talk, ANA, other)
    with pytest.raises(UnknownCaller, match="was revoked"):
        await call(talk, key, "get_tenant", tenant_id=other)


async def test_the_keys_of_other_members_stay(talk: Conversation):
    await joins(talk, ANA, "admin", 1)
    await joins(talk, BIA, "admin", 1)
    key = await key_for(talk, "admin", 1, by=BIA)
    await leaves(talk, ANA, 1)
    assert (await call(talk, key, "get_tenant", tenant_id=1))["tenant"]["id"] == 1


async def test_a_key_made_while_its_makers_membership_ends_ends_with_it(database_url: str):
    ours = await DirectDatabase.connect(database_url, size=1)
    theirs = await DirectDatabase.connect(database_url, size=1)
    try:
        talk = Conversation(ours)
        await talk.open_shop()
        await joins(talk, ANA, "admin", 1)
        new = make_api_key()
        wanted = {
            "name": "late", "role": "viewer", "tenant_ids": [1], "key_hash": new.key_hash,
            "starts_with": new.starts_with,
        }  # fmt: skip
        asked = {"caller": ANA, "function": "create_api_key", "argument": wanted}
        async with ours._pool.acquire() as connection, connection.transaction():
            await connection.fetchval("select public.as_operator($1)", asked)
            leaving = asyncio.create_task(leaves(Conversation(theirs), ANA, 1))
            async with asyncio.timeout(10):
                while not await connection.fetchval(
                    "select count(*) from pg_locks where not granted"
                ):
                    assert not leaving.done(), "it did not wait, so it cannot have seen the key"
                    await asyncio.sleep(0.01)
        await leaving
        with pytest.raises(UnknownCaller, match="was revoked"):
            await call(talk, {"kind": "key", "key_hash": new.key_hash}, "list_tenants")
    finally:
        await ours.close()
        await theirs.close()


# --- names, and who it was


HIDING = (
    "\n\r\t\x1b\x7f\x85\x9b\u00ad\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufeff"
    "\u034f\u115f\u1160\u17b4\u180b\u180e\u200c\u200d\u2060\u206f\u2800\u3164\ufe00\ufe0f\uffa0"
    "\ufff0\ufff9\ufffc\U00013430\U0001bca0\U0001d159\U0001d173\U000e0041\U000e0101"
    "\u00a0\u1680\u2000\u200a\u202f\u205f\u3000"
)


async def test_names_hold_nothing_that_hides_what_they_are(talk: Conversation):
    new = make_api_key()
    given = {"role": "viewer", "tenant_ids": [1], "key_hash": new.key_hash, "starts_with": "hfk_"}
    for sign in HIDING:
        with pytest.raises(Invalid, match="the name of a key must not have control characters"):
            await call(talk, BOSS, "create_api_key", name=f"a{sign}b", **given)
        for function, place in (("create_tenant", {}), ("change_tenant", {"tenant_id": 1})):
            values = {"instance_name": f"a{sign}b", "evo_server_url": "https://e.example"}
            with pytest.raises(Invalid, match="instance_name must not have control characters"):
                await call(talk, BOSS, function, values=values, **place)


async def test_nor_are_they_made_of_it_alone(talk: Conversation):
    for sign in HIDING:
        for name in (sign, sign * 3, f" {sign}", f"a{sign}", f"{sign}a", f"é{sign}", " "):
            values = {"instance_name": name, "evo_server_url": "https://e.example"}
            with pytest.raises(Invalid, match=r"^instance_name must (not )?have"):
                await call(talk, BOSS, "create_tenant", values=values)


@pytest.mark.apart
@pytest.mark.spoils
async def test_the_database_and_the_guard_know_the_same_signs(talk: Conversation):
    await talk.sql(
        "create function tests.is_taken(p_name text) returns boolean language plpgsql as $$ begin"
        " perform hybridflow.check_name('a name', p_name); return true;"
        " exception when sqlstate 'PT422' then return false; end $$"
    )
    signs = [chr(n) for n in range(1, 0x11_0000) if not 0xD800 <= n < 0xE000]
    unseen = [s for s in signs if without_unseen(f"a{s}b") != f"a{s}b" or in_one_line(s) != s]
    asked = "select s from unnest($1::text[]) as s where tests.is_taken('a' || s || 'b') = $2"
    assert len(unseen) > 4000
    assert await talk.sql(asked, unseen, True) == []
    assert await talk.sql(asked, sorted({*signs[:0x3200]} - {*unseen}), False) == []


async def test_names_of_all_people_are_taken(talk: Conversation):
    for name in (
        *("João, caixa 2", "پنل می‌خواهم", "店の鍵", "Пекарня", "क्‍ष", "한국", "Padaria 🍞 Lua"),
        *("Ana ❤️", "👩‍💻 Bia", "❤️‍🔥", "☎️ 2", "©️"),
    ):
        new = make_api_key()
        given = {"role": "viewer", "tenant_ids": [1], "starts_with": "hfk_"}
        made = await call(talk, BOSS, "create_api_key", name=name, key_hash=new.key_hash, **given)
        assert made["api_key"]["name"] == name


async def test_the_audit_line_says_which_key_it_was(talk: Conversation):
    await talk.maria_writes("oi")
    first = await key_for(talk, "operator", 1)
    second = await key_for(talk, "operator", 1)  # of the same name
    argument = {"tenant_id": 1, "session_id": 1, "source": "operator", "policy": POLICY}
    await call(talk, first, "pause_session", **argument)
    await call(talk, second, "resume_session", **argument)
    resumed, paused, made, _ = await lines(talk)
    assert (paused["api_key_id"], resumed["api_key_id"]) == (first["id"], second["id"])
    assert (made["api_key_id"], made["detail"]["api_key_id"]) == (None, second["id"])


# --- what admins of one tenant may not


@pytest.mark.parametrize("kind", ["key", "user", "operator of every tenant"])
async def test_renaming_needs_the_deployment_and_the_answer_tells_nothing_of_others(
    talk: Conversation, other: int, kind: str
):
    await joins(talk, ANA, "admin", 1)
    admin = ANA if kind == "user" else await key_for(talk, "admin", 1)
    said = []
    for name in ("pharmacy", "nobody-has-it", "SHOP", "shop ", "", None):
        with pytest.raises(NotAllowed) as refused:
            await call(talk, admin, "change_tenant", tenant_id=1, values={"instance_name": name})
        said.append(str(refused.value))
    assert len(set(said)) == 1
    assert await talk.value("select instance_name from tenants where id = 1") == "shop"
    same = {"instance_name": "shop", "system_prompt": "Be kind."}
    await call(talk, admin, "change_tenant", tenant_id=1, values=same)
    boss = BOSS if kind != "operator of every tenant" else await key_for(talk, "admin")
    renamed = await call(talk, boss, "change_tenant", tenant_id=1, values={"instance_name": "sol"})
    assert renamed["tenant"]["instance_name"] == "sol"


async def test_who_has_every_tenant_but_is_no_admin_renames_nothing(talk: Conversation):
    operator = await key_for(talk, "operator")
    with pytest.raises(NotAllowed):
        await call(talk, operator, "change_tenant", tenant_id=1, values={"instance_name": "sol"})


async def test_only_the_deployment_gives_a_tenant_the_deployments_key(talk: Conversation):
    admin = await key_for(talk, "admin", 1)
    elsewhere = "https://own.example"

    async def change(caller: Json, **values: object) -> None:
        await call(talk, caller, "change_tenant", tenant_id=1, values=values)

    for values in ({"evo_server_url": elsewhere}, {"evo_server_url": elsewhere, "evo_api_key": ""}):
        with pytest.raises(NotAllowed, match="EVOLUTION_API_KEY is the deployment's"):
            await change(admin, **values)
    await change(admin, evo_server_url=elsewhere, evo_api_key="its-own")
    for kept in (
        {"evo_api_key": None}, {"evo_api_key": ""},
        {"evo_api_key": None, "evo_server_url": "https://evolution.example"},
    ):  # fmt: skip
        with pytest.raises(NotAllowed, match="EVOLUTION_API_KEY is the deployment's"):
            await change(admin, **kept)
    await change(BOSS, evo_api_key=None, evo_server_url="https://evolution.example")
    await change(admin, evo_api_key=None, evo_server_url="https://evolution.example")  # as it is


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_addresses_of_a_tenants_own_services_are_shown_to_its_admins_alone(
    talk: Conversation, role: str
):
    secret = {"notify_url": "https://t.example/hook", "moderation_url": "https://m.example/s3cret"}
    await call(talk, BOSS, "change_tenant", tenant_id=1, values=secret)
    reader = await key_for(talk, role, 1)
    admin = await key_for(talk, "admin", 1)
    for caller, wanted in ((reader, dict.fromkeys(secret)), (admin, secret), (BOSS, secret)):
        one = (await call(talk, caller, "get_tenant", tenant_id=1))["tenant"]
        (listed,) = (await call(talk, caller, "list_tenants"))["items"]
        for tenant in (one, listed):
            assert {name: tenant[name] for name in secret} == wanted
            assert tenant["notify_url_set"]
            assert tenant["moderation_url_set"]


async def test_a_key_is_counted_by_the_first_tenant_that_it_is_for(talk: Conversation, other: int):
    for tenants, told in (((1,), 1), ((other,), other), ((other, 1), 1)):
        key = await key_for(talk, "viewer", *tenants)
        assert await talk.database.call("prove_caller", {"caller": key}) == {"tenant_id": told}
    for caller in (await key_for(talk, "viewer", every_tenant=True), BOSS, ANA):
        assert await talk.database.call("prove_caller", {"caller": caller}) == {}
    await call(talk, BOSS, "revoke_api_key", api_key_id=key["id"])
    with pytest.raises(UnknownCaller, match="was revoked"):
        await talk.database.call("prove_caller", {"caller": key})


async def test_a_user_is_counted_by_the_first_tenant_that_it_is_a_member_of(
    talk: Conversation, other: int
):
    for tenant_id in (other, 1):
        member = {"user_id": ANA["user_id"], "role": "viewer"}
        await call(talk, BOSS, "set_member", tenant_id=tenant_id, **member)
        told = await talk.database.call("prove_caller", {"caller": ANA})
        assert told == {"tenant_id": tenant_id}


# --- keys that keys made, and who hears of keys


async def test_a_key_ends_with_the_key_that_made_it_and_so_do_those_after_it(talk: Conversation):
    first = await key_for(talk, "admin", 1)
    second = await key_for(talk, "admin", 1, by=first)
    third = await key_for(talk, "viewer", 1, by=second)
    beside = await key_for(talk, "viewer", 1)
    await call(talk, BOSS, "revoke_api_key", api_key_id=first["id"])
    for key in (second, third):
        with pytest.raises(UnknownCaller, match="was revoked"):
            await call(talk, key, "get_tenant", tenant_id=1)
    await call(talk, beside, "get_tenant", tenant_id=1)


@pytest.mark.parametrize("asked", [None, 48])
async def test_a_key_is_over_when_the_key_that_made_it_is(talk: Conversation, asked: int | None):
    def until(hours: int) -> str:
        return (talk.now() + timedelta(hours=hours)).isoformat()

    first = await key_for(talk, "admin", 1, expires_at=until(1))
    later = {} if asked is None else {"expires_at": until(asked)}
    second = await key_for(talk, "admin", 1, by=first, **later)
    third = await key_for(talk, "viewer", 1, by=second, **later)
    await talk.travel(hours=2)
    for key in (second, third):
        with pytest.raises(UnknownCaller, match="has expired"):
            await call(talk, key, "get_tenant", tenant_id=1)


async def test_with_a_member_go_the_keys_that_its_keys_made(talk: Conversation):
    await call(talk, BOSS, "set_member", tenant_id=1, user_id=ANA["user_id"], role="admin")
    first = await key_for(talk, "admin", 1, by=ANA)
    second = await key_for(talk, "viewer", 1, by=first)
    await call(talk, BOSS, "remove_member", tenant_id=1, user_id=ANA["user_id"])
    with pytest.raises(UnknownCaller):
        await call(talk, second, "get_tenant", tenant_id=1)


async def test_the_admins_of_a_tenant_see_the_keys_made_and_revoked_for_it(
    talk: Conversation, other: int
):
    admin, theirs = await key_for(talk, "admin", 1), await key_for(talk, "admin", other)
    both = await key_for(talk, "viewer", 1, other)
    await call(talk, BOSS, "revoke_api_key", api_key_id=both["id"])
    for key, tenant_id in ((admin, 1), (theirs, other)):
        seen = (await call(talk, key, "list_audit", tenant_id=tenant_id))["items"]
        told = [(line["action"], line["detail"]["api_key_id"]) for line in seen]
        assert told == [
            ("revoke_api_key", both["id"]),
            ("create_api_key", both["id"]),
            ("create_api_key", key["id"]),
        ]
        assert {line["tenant_id"] for line in seen} == {tenant_id}
        assert "tenant_ids" not in str(seen)


async def test_a_key_of_every_tenant_is_a_line_of_the_deployment(talk: Conversation):
    await key_for(talk, "viewer")
    (line,) = await lines(talk)
    assert (line["tenant_id"], line["action"]) == (None, "create_api_key")


async def test_a_tenant_has_no_more_members_than_a_list_shows(talk: Conversation):
    users = await talk.sql(
        "insert into memberships (tenant_id, user_id, role, created_by)"
        " select 1, gen_random_uuid(), 'viewer', 'x' from generate_series(1, 500)"
        " returning user_id::text as id"
    )
    new = "00000000-0000-4000-8000-000000000001"
    with pytest.raises(Conflict, match="500 members"):
        await call(talk, BOSS, "set_member", tenant_id=1, user_id=new, role="viewer")
    await call(talk, BOSS, "set_member", tenant_id=1, user_id=users[0]["id"], role="admin")
    assert len((await call(talk, BOSS, "list_members", tenant_id=1))["items"]) == 500
    await call(talk, BOSS, "remove_member", tenant_id=1, user_id=users[0]["id"])
    await call(talk, BOSS, "set_member", tenant_id=1, user_id=new, role="viewer")
