"""The declared settings of tenants, and the database: its columns, checks, lists and grants."""

import json
from typing import Annotated

import pytest

from router.configuration.declaring import Declared, Setting, declared_in
from router.configuration.tenant_settings import SETTINGS, TenantKeys, TenantSettings
from router.errors import Invalid
from router.state.calls.tenants import StoredTenant
from router.tenants.sealing import KEY_COLUMNS
from scripts.made_of_settings import settings_sql
from tests.state.conversation import Conversation, Json
from tests.tenant_samples import sample_of

NUMBERS = [each for each in SETTINGS if each.kind in (int, float)]
RULED = [each for each in SETTINGS if each.fault()]
# What the state keeps of a tenant and shows to nobody, or in another way.
UNSHOWN = {"qr_code", "pairing_code", "qr_updated_at", "guard_changed_at"}
NOBODY = {"kind": "user", "name": "eva", "user_id": "0198c0de-0000-7000-8000-00000000e4a1"}


async def change(talk: Conversation, **values: object) -> Json:
    argument = {"tenant_id": 1, "values": values}
    tenant: Json = (await talk.database.call("change_tenant", argument))["tenant"]
    return tenant


async def test_each_setting_is_a_column_and_each_column_is_one_or_is_the_states(talk: Conversation):
    rows = await talk.sql(
        "select attname::text as name, attnotnull as needed from pg_attribute"
        " where attrelid = 'public.tenants'::regclass and attnum > 0 and not attisdropped"
    )
    columns = {row["name"]: row["needed"] for row in rows}
    of_the_state = set(StoredTenant.model_fields) | UNSHOWN
    assert set(columns) == {each.name for each in SETTINGS} | of_the_state
    for each in SETTINGS:
        assert columns[each.name] != each.nullable, each.name


async def test_a_new_tenant_has_the_defaults_that_are_declared(talk: Conversation):
    values = {"instance_name": "nova", "evo_server_url": "https://evolution.example"}
    tenant = (await talk.database.call("create_tenant", {"values": values}))["tenant"]
    for each in SETTINGS:
        if not (each.required or each.form == "key"):
            default = [] if each.default == () else each.default
            assert tenant[each.name] == default, each.name


async def test_each_can_be_set_and_is_shown_but_for_the_keys(talk: Conversation):
    wanted = {each.name: sample_of(each) for each in SETTINGS}
    changed = await change(talk, **wanted)
    shown = {name: value for name, value in wanted.items() if name not in KEY_COLUMNS}
    assert changed.items() >= shown.items()
    assert not set(changed) & set(KEY_COLUMNS)
    assert all(changed[f"{name}_set"] for name in KEY_COLUMNS)


async def test_what_each_falls_back_from_can_be_taken_away(talk: Conversation):
    await change(talk, **{each.name: sample_of(each) for each in SETTINGS})
    await change(talk, **{each.name: None for each in SETTINGS if each.nullable})
    for each in SETTINGS:
        if not each.nullable:
            with pytest.raises(Invalid, match=f"{each.name} must have a value"):
                await change(talk, **{each.name: None})


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda each: each.name)
async def test_a_column_takes_what_is_declared_and_nothing_beyond(
    talk: Conversation, setting: Declared
):
    lowest = setting.ge if setting.ge is not None else (setting.gt or 0) + 1
    whole = {"debounce_seconds": 0, "answer_within_minutes": 525_600} | {setting.name: lowest}
    await change(talk, **whole)
    beyond = [lowest - 1]
    if setting.highest is not None:
        await change(talk, **whole | {setting.name: setting.highest})
        beyond.append(setting.highest + 1)
    for value in beyond:
        with pytest.raises(Invalid, match=f"{setting.name} {setting.fault()}"):
            await change(talk, **{setting.name: value})


async def test_a_column_takes_the_words_that_are_declared_and_no_other(talk: Conversation):
    for setting in SETTINGS:
        for word in setting.words:
            assert (await change(talk, **{setting.name: word}))[setting.name] == word
        if setting.words:
            with pytest.raises(Invalid, match=f"{setting.name} {setting.fault()}"):
                await change(talk, **{setting.name: "perhaps"})


async def test_what_is_refused_in_other_words_has_a_check_and_each_check_has_words(
    talk: Conversation,
):
    rows = await talk.sql(
        "select conname::text as name from pg_constraint"
        " where conrelid = 'public.tenants'::regclass and contype = 'c'"
    )
    assert {row["name"] for row in rows} == {f"tenants_{each.name}_check" for each in RULED}


async def test_names_and_texts_are_no_longer_than_is_declared(talk: Conversation):
    for setting in SETTINGS:
        if setting.form == "text" and setting.longest:
            with pytest.raises(Invalid, match=f"{setting.name} may have"):
                await change(talk, **{setting.name: "x" * (setting.longest + 1)})
        if setting.form == "names":
            assert setting.most
            assert setting.longest
            with pytest.raises(Invalid, match=f"{setting.name} may name at most {setting.most}"):
                await change(talk, **{setting.name: ["10.0.0.1"] * (setting.most + 1)})
            with pytest.raises(Invalid, match=f"{setting.name} (may have no name|has a value)"):
                await change(talk, **{setting.name: ["x" * (setting.longest + 1)]})


async def test_the_audit_log_tells_the_values_that_are_declared_as_told(talk: Conversation):
    values = {each.name: sample_of(each) for each in SETTINGS}
    answer = await talk.database.call("change_tenant", {"tenant_id": 1, "values": values})
    told = answer["audit"]
    assert {each.name for each in SETTINGS if not each.is_told and told[each.name]} == set()
    assert all(told[each.name] for each in SETTINGS if each.is_told and told.get(each.name))
    assert set(told) == set(values)


async def test_what_admins_alone_read_is_null_for_others_who_see_that_it_is_there(
    talk: Conversation,
):
    await change(talk, **{each.name: sample_of(each) for each in SETTINGS})
    seen = json.loads(
        await talk.value(
            "select hybridflow.tenant_seen_by($1::text::jsonb, t)::text from tenants as t",
            json.dumps(NOBODY),
        )
    )
    for each in SETTINGS:
        if each.read_by == "admin":
            assert (seen[each.name], seen[f"{each.name}_set"]) == (None, True)
        elif each.form != "key":
            assert seen[each.name] == sample_of(each)


async def test_members_read_directly_what_is_declared_as_followed(talk: Conversation):
    rows = await talk.sql(
        "select attname::text as name from pg_attribute"
        " where attrelid = 'public.tenants'::regclass and attnum > 0"
        " and has_column_privilege('authenticated', attrelid, attnum, 'select')"
    )
    read = {row["name"] for row in rows}
    assert read & {e.name for e in SETTINGS} == {e.name for e in SETTINGS if e.followed}


async def test_each_key_is_found_and_encrypted_anew(talk: Conversation):
    await change(talk, **{name: f"old-{name}" for name in KEY_COLUMNS})
    found = (await talk.database.call("list_sealed", {}))["items"]
    assert {item["column"]: item["value"] for item in found} == {
        name: f"old-{name}" for name in KEY_COLUMNS
    }
    for name in KEY_COLUMNS:
        asked = {"tenant_id": 1, "column": name, "old": f"old-{name}", "new": f"new-{name}"}
        assert (await talk.database.call("reseal", asked))["changed"]
    found = (await talk.database.call("list_sealed", {}))["items"]
    assert {item["value"] for item in found} == {f"new-{name}" for name in KEY_COLUMNS}


class WithOneMore(TenantSettings):
    """What a tenant would have with one setting more."""

    greeting_seconds: Annotated[
        float | None, Setting(about="A greeting's seconds", gt=0, le=25, otherwise="none")
    ]


COLUMN = """
alter table public.tenants add column if not exists greeting_seconds numeric
constraint tenants_greeting_seconds_check check (greeting_seconds > 0 and greeting_seconds <= 25);
"""


@pytest.mark.spoils
async def test_a_column_and_a_declaration_are_all_that_a_new_setting_needs(talk: Conversation):
    more = declared_in(WithOneMore, TenantKeys)
    with pytest.raises(Invalid, match="no greeting_seconds that can be set"):
        await change(talk, greeting_seconds=3)
    for statement in (COLUMN, *statements(settings_sql(more))):
        await talk.sql(statement)
    assert (await change(talk, greeting_seconds=3))["greeting_seconds"] == 3
    with pytest.raises(Invalid, match="greeting_seconds must be more than 0 and at most 25"):
        await change(talk, greeting_seconds=26)
    answer = await talk.database.call(
        "change_tenant", {"tenant_id": 1, "values": {"greeting_seconds": None}}
    )
    assert answer["audit"] == {"greeting_seconds": {"from": 3}}


def statements(text: str) -> list[str]:
    """Return the statements of a file in which each ends its line."""
    found = [""]
    quoted = False
    for line in text.splitlines():
        found[-1] += f"{line}\n"
        quoted ^= line.count("$$") % 2 == 1
        if line.endswith(";") and not quoted:
            found.append("")
    return [statement for statement in found if statement.strip()]
