"""A tenant's setting is declared once: whoever has settings has all of them, and no other."""

import re
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import ValidationError

from router.api.tenant_values import NewTenant, TenantValues, new_of, values_of
from router.configuration.declaring import Setting, declared_in, named
from router.configuration.settings import Settings, load_settings
from router.configuration.tenant_settings import SETTINGS, TenantKeys, TenantSettings
from router.state.calls.tenants import StoredTenant, Tenant
from router.tenants.policy import budgets, ceilings, policy
from router.tenants.sealing import KEY_COLUMNS
from scripts import tenant as command
from scripts.build_schema import SETTINGS_PAGE, SETTINGS_SQL
from scripts.made_of_settings import settings_page, settings_sql
from tests.for_each import for_each
from tests.tenant_samples import sample_of

SCHEMA = Path(__file__).parents[2] / "database" / "schema"
DEPLOYMENT = load_settings({}, env_file=None)
NAMES = {setting.name for setting in SETTINGS}
KEYS = {"evo_api_key", "llm_api_key"}


class WithOneMore(TenantSettings):
    """What a tenant would have with one setting more."""

    greeting_seconds: Annotated[
        float | None,
        Setting(
            about="Seconds after which a greeting is said",
            gt=0,
            le=25,
            variable="typing_seconds",
            deployment="rule",
            read_by="admin",
            set_by="deployment",
            followed=True,
        ),
    ]


MORE = declared_in(WithOneMore, TenantKeys)


# --- one made-up setting, and where it appears


def test_a_request_takes_a_new_setting_with_its_bounds():
    assert values_of(MORE).model_validate({"greeting_seconds": 25}).given() == {
        "greeting_seconds": 25
    }
    for fault in (0, 26, "3"):
        with pytest.raises(ValidationError, match="greeting_seconds"):
            values_of(MORE).model_validate({"greeting_seconds": fault})
    shown = new_of(MORE).model_json_schema()["properties"]["greeting_seconds"]
    assert shown["description"] == "Seconds after which a greeting is said"
    with pytest.raises(ValidationError, match="greeting_seconds"):
        TenantValues.model_validate({"greeting_seconds": 25})


def test_sql_lists_words_and_stores_a_new_setting():
    text = settings_sql(MORE)
    listing = re.compile(r"function hybridflow\.(\w+)\(\).*?array\[(.*?)\]::text", re.DOTALL)
    lists = dict(listing.findall(text))
    having = {name for name, listed in lists.items() if "'greeting_seconds'" in listed}
    assert having == {
        "tenant_settings",
        "settings_for_admins",
        "settings_of_deployment",
        "settings_followed",
    }
    assert "'greeting_seconds must be more than 0 and at most 25'" in text
    assert "greeting_seconds = p_new.greeting_seconds" in text
    assert "comment on column public.tenants.greeting_seconds is\n'Seconds after" in text


def test_the_page_has_a_row_for_a_new_setting():
    (row,) = (line for line in settings_page(MORE).splitlines() if "greeting_seconds" in line)
    assert row == (
        "| `greeting_seconds` | Seconds after which a greeting is said. Only admins can read it."
        " Only the deployment can change it | `TYPING_SECONDS` (1) | be more than 0 and at most 25"
        " |"
    )


def test_the_functions_are_told_a_new_rule():
    assert policy(DEPLOYMENT, MORE) == policy(DEPLOYMENT) | {"greeting_seconds": 1}


def test_the_command_line_reads_a_new_setting_as_it_is_written(tmp_path):
    class WithAText(TenantSettings):
        greetings: Annotated[
            tuple[str, ...], Setting(about="…", default=(), most=3, longest=9, form="names")
        ]
        rules: Annotated[str | None, Setting(about="…", form="text")]

    (tmp_path / "rules.txt").write_text("Be kind.\n")
    pairs = ["greetings=oi, olá", f"rules=@{tmp_path / 'rules.txt'}"]
    assert command.values_of(pairs, declared_in(WithAText)) == {
        "greetings": ["oi", "olá"],
        "rules": "Be kind.",
    }


# --- whoever has settings has all of them, and no other


def test_a_request_can_set_each_and_a_new_tenant_needs_what_none_is_without():
    for model in (TenantValues, NewTenant):
        assert set(model.model_fields) == NAMES
    needed = {name for name, field in NewTenant.model_fields.items() if field.is_required()}
    assert needed == {setting.name for setting in SETTINGS if setting.required}
    assert not any(field.is_required() for field in TenantValues.model_fields.values())


@for_each("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_request_takes_null_where_there_is_something_to_fall_back_to(setting):
    assert TenantValues.model_validate({setting.name: sample_of(setting)}).given()
    if setting.nullable:
        assert TenantValues.model_validate({setting.name: None}).given() == {setting.name: None}
    else:
        assert "null" not in str(TenantValues.model_json_schema()["properties"][setting.name])


def test_an_answer_shows_each_but_the_keys():
    known = set(StoredTenant.model_fields)
    hidden = set(KEY_COLUMNS) | {each.name for each in SETTINGS if each.read_by == "admin"}
    told = {f"{name}_set" for name in hidden}
    assert set(Tenant.model_fields) == known | (NAMES - set(KEY_COLUMNS)) | told


def test_what_is_made_of_the_declarations_is_up_to_date():
    assert SETTINGS_SQL.read_text() == settings_sql()
    assert SETTINGS_PAGE.read_text() == settings_page()


def test_each_has_a_column_before_the_lists_that_name_it():
    tables = "".join((SCHEMA / f).read_text() for f in ("0100_tables.sql", "0150_limits.sql"))
    columns = set(re.findall(r"^(?:    |add column if not exists )(\w+) \w", tables, re.MULTILINE))
    assert columns >= NAMES


def test_keys_are_sealed_and_what_may_hold_one_is_not_told():
    assert set(KEY_COLUMNS) == KEYS
    assert KEYS | set(named(SETTINGS, "address")) == {s.name for s in SETTINGS if not s.is_told}


def test_whatever_the_deployment_has_a_variable_for_names_it():
    for setting in SETTINGS:
        assert (setting.variable == "") == (setting.deployment == "none"), setting.name
        assert not setting.variable or setting.variable in Settings.model_fields
    same = NAMES & set(Settings.model_fields)
    theirs = {setting.name for setting in SETTINGS if setting.variable == setting.name}
    # A tenant's own provider, networks and moderation stand beside the deployment's.
    assert same - theirs == {"llm_provider", "webhook_networks", "moderation_url"}


def test_what_holds_without_a_value_is_one_that_it_could_have():
    for setting in SETTINGS:
        default = Settings.model_fields[setting.variable].default if setting.variable else None
        given = setting.default if default is None else default
        if given is not None and setting.kind in (int, float):
            TenantValues.model_validate({setting.name: given})
        assert setting.nullable or setting.required or setting.default is not None, setting.name


def test_a_list_has_the_form_of_one_and_its_bounds():
    for setting in SETTINGS:
        assert setting.is_list == (setting.form in ("names", "lines")), setting.name
        assert setting.form != "names" or (setting.most and setting.longest), setting.name


def test_sqls_own_defaults_are_the_deployments():
    """A function that is told no policy goes by these."""
    rules = {each.name: each.variable for each in SETTINGS if each.deployment == "rule"}
    said = re.compile(r"_policy(?:, '(\w+)',| ->> '(\w+)'\)::numeric,)\s+([\d.]+)")
    found = set()
    for file in SCHEMA.glob("*.sql"):
        for asked, taken, value in said.findall(file.read_text()):
            name = asked or taken
            found.add(name)
            default = Settings.model_fields[rules.get(name, name)].default
            assert float(value) == default, f"{file.name}: {name}"
    assert found >= set(rules)


def test_the_functions_are_told_every_rule_and_every_ceiling():
    assert set(policy(DEPLOYMENT)) == {
        *("resume_after_hours", "answer_within_minutes", "debounce_seconds"),
        *("debounce_cap_seconds", "loop_replies", "loop_minutes", "media_wait_seconds", "senses"),
    }
    most = {"DAILY_TURNS": "0", "CONTACT_DAILY_TOKENS": "9"}
    limited = load_settings(most, env_file=None)
    assert budgets(DEPLOYMENT) == {}  # a budget that is not set is not spoken of
    assert budgets(limited) == {"daily_turns": 0, "contact_daily_tokens": 9}
    models = sorted(limited.allowed_models)
    said = {"llm_max_tokens": 1024, "llm_models": models}
    assert ceilings(limited) == budgets(limited) | said


def test_the_command_line_takes_each_away_again():
    for setting in SETTINGS:
        empty = [] if setting.is_list and not setting.nullable else None
        assert command.values_of([f"{setting.name}="]) == {setting.name: empty}


def test_the_command_line_says_which_there_are(capsys):
    with pytest.raises(SystemExit):
        command.main(["set", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    listed = said.partition("There are ")[2].partition(" options:")[0].split(", ")
    assert set(listed) == NAMES
    assert "evo_api_key=- or llm_api_key=-" in said
