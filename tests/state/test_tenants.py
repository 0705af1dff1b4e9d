"""Tenants in the state: made and changed as they should be, and what their gaps are."""

import json
from typing import Any

import pytest

from router.configuration.servers import Servers
from router.errors import Conflict, Invalid, NotFound
from router.state.calls.tenants import TenantsElsewhere, tenants_elsewhere
from router.state.database import Json
from router.state.direct import DirectDatabase
from router.tenants.lost_servers import lost_tenants, sentences
from tests.state.conversation import MARIA, Conversation

NEW = {"instance_name": "padaria", "evo_server_url": "https://evolution.example"}


async def create(database: DirectDatabase, **values: object) -> Json:
    answer = await database.call("create_tenant", {"values": NEW | values})
    tenant: Json = answer["tenant"]
    return tenant


async def change(database: DirectDatabase, tenant_id: int = 1, **values: object) -> Json:
    answer = await database.call("change_tenant", {"tenant_id": tenant_id, "values": values})
    tenant: Json = answer["tenant"]
    return tenant


async def test_a_new_tenant_has_the_defaults_for_what_was_not_said(database: DirectDatabase):
    tenant = await create(database, unanswered_kinds=["sticker"])
    assert tenant["llm_provider"] == "anthropic"
    assert tenant["is_active"]
    assert tenant["unanswered_kinds"] == ["sticker"]
    assert tenant["resume_after_hours"] is None


async def test_a_change_touches_what_it_names_and_nothing_else(database: DirectDatabase):
    before = await create(database, system_prompt="Be kind.", resume_after_hours=3)
    after = await change(database, resume_after_hours=None, llm_max_tokens=300)
    assert before["resume_after_hours"] == 3
    assert after == before | {
        "resume_after_hours": None,
        "llm_max_tokens": 300,
        "updated_at": after["updated_at"],
    }


async def test_the_key_of_evolution_is_written_and_never_read(database: DirectDatabase):
    tenants = [
        await create(database, evo_api_key="EVO-SECRET"),
        await change(database, system_prompt="Be brief."),
        await database.call("get_tenant", {"tenant_id": 1}),
        await database.call("get_tenant", {"instance_name": "padaria"}),
        await database.call("list_tenants", {}),
    ]
    assert "EVO-SECRET" not in json.dumps(tenants)
    assert tenants[1]["evo_api_key_set"]
    assert not (await change(database, evo_api_key=None))["evo_api_key_set"]


async def test_the_router_itself_gets_the_key(database: DirectDatabase):
    await create(database, evo_api_key="EVO-SECRET")
    instance = await database.call("get_instance", {"instance_name": "padaria"})
    assert instance["evo_api_key"] == "EVO-SECRET"
    with pytest.raises(NotFound, match="with the instance nobody"):
        await database.call("get_instance", {"instance_name": "nobody"})


async def test_one_instance_has_one_tenant(database: DirectDatabase):
    await create(database)
    await create(database, instance_name="acougue")
    with pytest.raises(Conflict, match="another tenant has the instance padaria"):
        await create(database)
    with pytest.raises(Conflict, match="another tenant has the instance padaria"):
        await change(database, 2, instance_name="padaria")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"instance_name": ""}, "instance_name must not be empty"),
        ({"instance_name": None}, "instance_name must have a value"),
        ({"evo_server_url": "evolution.example"}, "evo_server_url must begin with http"),
        ({"evo_server_url": None}, "evo_server_url must have a value"),
        ({"llm_provider": "abacus"}, "llm_provider must be anthropic or openai"),
        ({"llm_max_tokens": 0}, "llm_max_tokens must be more than 0"),
        ({"llm_max_tokens": "many"}, "llm_max_tokens has a value that it cannot have"),
        ({"llm_max_tokens": 1e12}, "llm_max_tokens"),
        ({"is_active": None}, "is_active must have a value"),
        ({"debounce_seconds": -1}, "debounce_seconds must be from 0 to 3600"),
        ({"resume_after_hours": 0}, "resume_after_hours must be more than 0"),
        ({"answer_within_minutes": 0}, "answer_within_minutes must be more than 0"),
        ({"auto_reply_seconds": -1}, "auto_reply_seconds must be from 0 to 86400"),
        ({"on_new_message": "ignore"}, "on_new_message must be queue or restart"),
        ({"unanswered_kinds": "sticker"}, "unanswered_kinds has a value that it cannot have"),
        ({"unanswered_kinds": ["x"] * 51}, "unanswered_kinds may name at most 50, not 51"),
        ({"unanswered_kinds": ["x" * 61]}, "no name of more than 60 characters"),
        ({"webhook_networks": ["10.0.0.0/8"] * 51}, "webhook_networks may name at most 50"),
        ({"debounce_seconds": 600, "answer_within_minutes": 5}, r"debounce_seconds \(600\) must"),
        ({"debounce_seconds": 300, "answer_within_minutes": 5}, "debounce_seconds .* less than"),
        ({"debounce_seconds": 3600}, r"answer_within_minutes \(60 minutes\)"),
        ({"answer_within_minutes": 0.03}, r"debounce_seconds \(2\) must be less"),
        ({"tenant_name": "x", "id": 7}, "no id, tenant_name that can be set"),
        ({"connection_state": "open"}, "no connection_state that can be set"),
    ],
)
async def test_a_wrong_value_is_named_with_its_fault(
    database: DirectDatabase, values: Json, fault: str
):
    with pytest.raises(Invalid, match=fault):
        await create(database, **values)
    assert (await database.call("list_tenants", {}))["items"] == []
    before = await create(database)
    with pytest.raises(Invalid, match=fault):
        await change(database, before["id"], **values)
    after = await database.call("get_tenant", {"tenant_id": before["id"]})
    assert after["tenant"] == before


async def test_an_unknown_tenant_is_not_found(database: DirectDatabase):
    with pytest.raises(NotFound):
        await database.call("get_tenant", {"tenant_id": 1})
    with pytest.raises(NotFound):
        await database.call("change_tenant", {"tenant_id": 1, "values": {}})


async def test_tenants_are_listed_page_by_page(database: DirectDatabase):
    for name in "abc":
        await create(database, instance_name=name)
    first = await database.call("list_tenants", {"limit": 2})
    second = await database.call("list_tenants", {"limit": 2, "cursor": first["next_cursor"]})
    shown = [tenant["instance_name"] for tenant in first["items"] + second["items"]]
    assert shown == ["a", "b", "c"]
    assert second["next_cursor"] is None


async def test_the_qr_code_is_kept_until_the_phone_is_connected(talk: Conversation):
    with pytest.raises(NotFound, match="no QR code for the instance shop"):
        await talk.database.call("get_qrcode", {"instance_name": "shop"})
    code = {"instance": "shop", "event": "qrcode.updated", "type": "qrcode", "key": "q1"}
    await talk.ingest(code | {"code": "2@REF", "pairing_code": "ABCD1234"})
    await talk.travel(seconds=20)
    shown = await talk.database.call("get_qrcode", {"instance_name": "shop"})
    assert (shown["code"], shown["pairing_code"]) == ("2@REF", "ABCD1234")
    assert shown["age_seconds"] in (20, 21)
    tenant = (await talk.database.call("get_tenant", {"tenant_id": 1}))["tenant"]
    assert "2@REF" not in json.dumps(tenant)
    opened = {"instance": "shop", "event": "connection.update", "type": "connection", "key": "c1"}
    await talk.ingest(opened | {"state": "open", "reason": 200, "owner_jid": None})
    with pytest.raises(NotFound, match="its connection is open"):
        await talk.database.call("get_qrcode", {"instance_name": "shop"})


# From when on something may be missing


async def hours_back(talk: Conversation, look_back: float = 24, margin: float = 0) -> float:
    answer = await talk.database.call(
        "gap_start", {"tenant_id": 1, "margin_seconds": margin, "look_back_hours": look_back}
    )
    hours: float = await talk.value(
        "select extract(epoch from $1::text::timestamptz - $2::text::timestamptz)::float8 / 3600",
        answer["now"],
        answer["since"],
    )
    return hours


async def test_a_new_tenant_misses_nothing_from_before_it_was_made(talk: Conversation):
    await talk.travel(hours=5)
    assert await hours_back(talk) == pytest.approx(5, abs=0.02)


async def test_a_long_outage_is_repaired_from_the_last_known_message_on(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.travel(hours=72)
    assert await hours_back(talk) == pytest.approx(72, abs=0.02)
    assert await hours_back(talk, margin=1800) == pytest.approx(72.5, abs=0.02)


async def test_a_message_after_the_gap_does_not_hide_it(talk: Conversation):
    await talk.maria_writes("antes")
    await talk.travel(hours=6)
    await talk.maria_writes("depois")
    assert await hours_back(talk) == pytest.approx(6, abs=0.02)
    assert await hours_back(talk, look_back=2) == pytest.approx(2, abs=0.02)


async def test_what_has_been_repaired_is_not_asked_for_again(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.travel(hours=6)
    await talk.maria_writes("oi de novo", jids=[MARIA])
    now = await talk.value("select (hybridflow.clock() - interval '1 hour')::text")
    await talk.database.call("caught_up", {"tenant_id": 1, "until": now})
    assert await hours_back(talk) == pytest.approx(1, abs=0.02)
    earlier = await talk.value("select (hybridflow.clock() - interval '9 hours')::text")
    await talk.database.call("caught_up", {"tenant_id": 1, "until": earlier})
    assert await hours_back(talk) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    "url",
    ["https://evil.example", "http://evolution.example", "https://evolution.example:8443"],
)
async def test_a_key_is_not_shown_to_another_server_than_it_was_given_for(database, url):
    await create(database, evo_api_key="EVO-SECRET")
    with pytest.raises(Invalid, match="give its evo_api_key along"):
        await change(database, evo_server_url=url)
    changed = await change(database, evo_server_url=url, evo_api_key="EVO-OTHER")
    assert changed["evo_server_url"] == url


async def test_at_the_same_server_the_path_may_change_without_the_key(database):
    await create(database, evo_api_key="EVO-SECRET")
    changed = await change(database, evo_server_url="https://EVOLUTION.example/base")
    assert changed["evo_api_key_set"]


async def test_without_a_key_of_its_own_a_tenant_may_move(database):
    await create(database)
    assert (await change(database, evo_server_url="https://nova.example"))["id"]


CEILINGS: dict[str, Any] = {
    "daily_turns": 10, "daily_tokens": 1000, "contact_daily_turns": 5, "llm_max_tokens": 800,
    "llm_models": ["claude-small", "gpt-small"],
}  # fmt: skip


async def within(database: DirectDatabase, caller: Json | None = None, **values: object) -> Json:
    argument: Json = {"tenant_id": 1, "values": values, "ceilings": CEILINGS}
    if caller is not None:
        argument["caller"] = caller
    tenant: Json = (await database.call("change_tenant", argument))["tenant"]
    return tenant


@pytest.mark.parametrize("name", [name for name in CEILINGS if name != "llm_models"])
async def test_the_deployments_limit_is_the_most_that_a_tenant_may_be_given(database, name):
    await create(database)
    most = CEILINGS[name]
    with pytest.raises(Invalid, match=f"{name} must be at most {most}, .* {name.upper()}"):
        await within(database, None, **{name: most + 1})
    values = NEW | {"instance_name": "nova", name: most + 1}
    with pytest.raises(Invalid, match=f"{name} must be at most"):
        await database.call("create_tenant", {"values": values, "ceilings": CEILINGS})
    for value in (most, most - 1, None):
        assert (await within(database, None, **{name: value}))[name] == value


async def test_where_the_deployment_has_no_limit_a_tenant_may_have_any(database):
    await create(database)
    assert (await within(database, contact_daily_tokens=10**9))["contact_daily_tokens"] == 10**9


async def test_what_a_tenant_has_from_before_does_not_stand_in_the_way_of_other_changes(database):
    await create(database, daily_turns=99, llm_model="claude-huge")
    assert (await within(database, system_prompt="Be brief."))["daily_turns"] == 99


async def test_on_the_deployments_key_an_admin_chooses_among_its_models(database):
    await create(database)
    admin = {"kind": "user", "name": "ana", "user_id": "0198c0de-0000-7000-8000-00000000a11a"}
    for model in ("claude-huge", "", "CLAUDE-SMALL"):
        with pytest.raises(Invalid, match="one of claude-small, gpt-small"):
            await within(database, admin, llm_model=model)
    assert (await within(database, admin, llm_model="gpt-small"))["llm_model"] == "gpt-small"
    own = {"llm_api_key": "its-own", "llm_max_tokens": 9000}
    await within(database, admin, llm_model="claude-huge", **own)
    with pytest.raises(Invalid, match="llm_model must be null or one of"):
        await within(database, admin, llm_api_key=None)
    await within(database, admin, llm_api_key=None, llm_model=None, llm_max_tokens=None)
    assert (await within(database, llm_model="claude-huge"))["llm_model"] == "claude-huge"
    assert (await within(database, admin, system_prompt="Be brief."))["llm_model"] == "claude-huge"


async def test_tenants_are_found_that_the_deployments_key_does_not_serve_any_more(database):
    served, lost = "http://evolution:8080", "https://lost.example"
    for name, url, key in (
        ("served", f"{served}/", None), ("one", lost, None), ("two", lost, ""),
        ("payer", "https://own.example", "k"), ("sly", f"{served}/chat/x?", "k"),
    ):  # fmt: skip
        await create(database, instance_name=name, evo_server_url=url, evo_api_key=key)
    found = (await database.call("tenants_elsewhere", {"named": [served]}))["servers"]
    assert sorted(found, key=lambda each: each["evo_server_url"]) == [
        {
            "evo_server_url": f"{served}/chat/x?",
            "own_key": True,
            "tenants": 1,
            "instances": ["sly"],
        },
        {"evo_server_url": lost, "own_key": False, "tenants": 2, "instances": ["one", "two"]},
    ]
    everything = (await database.call("tenants_elsewhere", {"named": []}))["servers"]
    assert len(everything) == 3


FAULTY = [
    *(
        "http://user:pass@host",
        "https://ho%73t",
        "http://host:",
        "http://host:0",
        "http://host:70000",
    ),
    *("http://host:080808", "http://[::1", "http://...", "http://a b"),
    *("http://host\\evil", "http://host/?x", "http://host#x", "http://host/\n", "http://a:1:2"),
]
RIGHT = ["http://host", "https://Host.Example:8080/", "http://[::1]:8080", "http://10.0.0.1:59999"]


async def test_whatever_the_router_calls_a_fault_of_an_address_is_found(database):
    servers = Servers()
    for number, url in enumerate((*FAULTY, *RIGHT)):
        assert (servers.fault_of(url) is None) == (url in RIGHT), url
        await Conversation(database).sql(
            "insert into tenants (instance_name, evo_server_url, evo_api_key) values ($1, $2, 'k')",
            f"t{number}", url,
        )  # fmt: skip
    found = (await tenants_elsewhere(database, TenantsElsewhere(named=()))).servers
    assert {each.evo_server_url for each in found} == set(FAULTY)
    told = sentences(lost_tenants(found, (), has_key=True))
    assert len(told) == len(FAULTY)
    assert "pass" not in " ".join(told)


@pytest.mark.parametrize("name", [".", ".."])
async def test_an_instance_has_no_name_that_changes_the_path_of_evolutions_addresses(
    database, name
):
    with pytest.raises(Invalid, match="instance_name must not be"):
        await create(database, instance_name=name)


async def test_what_waits_and_what_gets_too_old_are_compared_with_what_holds(
    database: DirectDatabase,
):
    """Whichever of the two is set, and whether the other is the tenant's or the deployment's."""
    shop = await create(database, debounce_seconds=240, answer_within_minutes=5)
    for values in ({"debounce_seconds": 300}, {"answer_within_minutes": 4}):
        with pytest.raises(Invalid, match="debounce_seconds"):
            await change(database, shop["id"], **values)
    policy = {"debounce_seconds": 100, "answer_within_minutes": 1}
    for own in ({"answer_within_minutes": None}, {"debounce_seconds": None, **policy}):
        argument = {"tenant_id": shop["id"], "values": own, "policy": policy}
        with pytest.raises(Invalid, match="debounce_seconds"):
            await database.call("change_tenant", argument)
    await change(database, shop["id"], debounce_seconds=600, answer_within_minutes=15)


async def test_a_tenant_that_was_set_so_before_can_be_changed_otherwise(talk: Conversation):
    await talk.sql("update tenants set debounce_seconds = 600, answer_within_minutes = 5")
    await talk.database.call("change_tenant", {"tenant_id": 1, "values": {"llm_model": "m"}})
