"""The configuration: what is taken, what is refused, and in which words."""

import base64
import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from router.configuration.settings import ConfigurationError, Settings, load_settings

_ROOT = Path(__file__).resolve().parents[2]
_EXAMPLE = _ROOT / ".env.example"
# What Compose alone reads stands at the end.
_EXPLAINED = _EXAMPLE.read_text().partition("# --- Docker Compose only")[0]
_NAMES = [str(field.alias) for field in Settings.model_fields.values()]
_LINE = re.compile(r"^#?([A-Z0-9_]+)=(.*)$", re.MULTILINE)
STRONG = "c0rrect-horse-battery-staple"
LONG = "c0rrect-horse-battery-staple-and-more"

# The variables of the deployment guide, with its values.
_GUIDE = {
    "SUPABASE_URL": "https://your-project.supabase.co",
    "SUPABASE_SERVICE_ROLE_KEY": "your-service-role-key-here",
    "EVOLUTION_WEBHOOK_SHARED_SECRET": "your-secure-secret-here",
    "CRON_SECRET": "your-cron-secret-here",
    "LLM_PROVIDER": "anthropic",
    "ANTHROPIC_API_KEY": "sk-ant-...",
    "CORS_ORIGINS": "http://localhost:3000,https://your-frontend.vercel.app",
    "API_PORT": "8000",
    "LOG_LEVEL": "info",
    "RESUME_AFTER_HOURS": "2",
    "LLM_MAX_TOKENS": "1024",
    "LLM_TIMEOUT": "10",
    "DEFAULT_SYSTEM_PROMPT": "You are a helpful WhatsApp assistant.",
    "N8N_ENABLED": "false",
    "N8N_WEBHOOK_URL": "http://localhost:5678/webhook",
    "N8N_API_KEY": "your-n8n-api-key",
}


def load(**env: str) -> Settings:
    return load_settings(env, env_file=None)


def faults_of(**env: str) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        load(**env)
    return caught.value.faults


def outcome_of(env: dict[str, str]) -> Settings | ConfigurationError:
    try:
        return load_settings(env, env_file=None)
    except ConfigurationError as error:
        return error


def supabase_jwt(role: str) -> str:
    def part(claims: dict[str, str]) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part({'iss': 'supabase', 'role': role})}.c2lnbmF0dXJl"


# --- what is taken


def test_the_guides_variables_are_taken_with_the_guides_values():
    settings = load(**_GUIDE)
    assert settings.supabase_url == "https://your-project.supabase.co"
    assert settings.cors_origins == ("http://localhost:3000", "https://your-frontend.vercel.app")
    assert settings.n8n_enabled is False
    assert settings.resume_after_hours == 2
    assert (settings.llm_max_tokens, settings.llm_timeout) == (1024, 10)


def test_nothing_at_all_is_a_configuration():
    settings = load()
    assert settings.supabase_url is None
    assert settings.webhook_secrets == ()
    assert settings.hybridflow_data == Path(".hybridflow")


def test_blank_values_count_as_not_set():
    blank = dict.fromkeys(_NAMES, "  ")
    assert load(**blank) == load()


def test_the_environment_wins_over_the_file_unless_it_is_blank(tmp_path):
    file = tmp_path / ".env"
    file.write_text("LOG_LEVEL=debug\nLLM_TIMEOUT=7\nAPI_PORT=9000\nSOMETHING_ELSE=1\nEMPTY\n")
    settings = load_settings({"LOG_LEVEL": "error", "LLM_TIMEOUT": ""}, file)
    assert (settings.log_level, settings.llm_timeout, settings.api_port) == ("error", 7, 9000)


def test_the_platforms_port_wins(tmp_path):
    file = tmp_path / ".env"
    file.write_text("API_PORT=9000\n")
    assert load_settings({"PORT": "4321"}, file).api_port == 4321
    assert load(PORT="4321", API_PORT="9000").api_port == 4321


def test_the_processes_environment_is_read_when_none_is_given(monkeypatch):
    monkeypatch.setenv("LLM_ATTEMPTS", "7")
    assert load_settings(env_file=None).llm_attempts == 7


def test_settings_do_not_change(monkeypatch):
    settings = load()
    with pytest.raises(ValidationError):
        monkeypatch.setattr(settings, "llm_timeout", 5)


def test_two_webhook_secrets_may_hold_at_once():
    settings = load(EVOLUTION_WEBHOOK_SHARED_SECRET="new-one, old-one,")
    assert [secret.get_secret_value() for secret in settings.webhook_secrets] == [
        "new-one",
        "old-one",
    ]


def test_api_keys_have_names_and_may_contain_colons():
    keys = load(API_KEYS="ana:key:1, ci:key2").api_keys
    assert {name: key.get_secret_value() for name, key in keys.items()} == {
        "ana": "key:1",
        "ci": "key2",
    }


@pytest.mark.parametrize(
    ("name", "field", "given_url"),
    [
        ("PUBLIC_URL", "public_url", "https://router.example/"),
        ("OPENAI_BASE_URL", "openai_base_url", "http://localhost:11434/v1/"),
        ("CORS_ORIGINS", "cors_origins", "https://App.example/"),
    ],
)
def test_a_slash_at_the_end_of_an_address_goes(name, field, given_url):
    expected = given_url.lower().rstrip("/")
    assert getattr(load(**{name: given_url}), field) in (expected, (expected,))


def test_choices_are_taken_in_any_case():
    settings = load(LOG_LEVEL="INFO", LLM_PROVIDER="OpenAI", LLM_FALLBACK_PROVIDER="Anthropic")
    assert (settings.log_level, settings.llm_provider) == ("info", "openai")
    assert settings.llm_fallback_provider == "anthropic"


# --- what is refused


def test_all_faults_are_named_at_once_with_value_and_cure():
    faults = faults_of(
        SUPABASE_URL="xxx.supabase.co",
        API_PORT="80x",
        PORT="99999",
        LLM_PROVIDER="gpt",
        RESUME_AFTER_HOURS="0",
        LLM_TIMEOUT="nan",
        MAX_WEBHOOK_BYTES="2.5",
        N8N_ENABLED="perhaps",
        DEBOUNCE_CAP_SECONDS="1",
    )
    assert faults == {
        "SUPABASE_URL": "'xxx.supabase.co' is not an http URL. Write it in full, such as"
        " https://host.example. Copy the Project URL from the Supabase dashboard (Settings, API):"
        " https://xxx.supabase.co.",
        "PORT": "'99999' is too large. Give a whole number from 1 up to 65535.",
        "API_PORT": "'80x' is not a whole number."
        " Give a whole number from 1 up to 65535 (the default is 8000).",
        "MAX_WEBHOOK_BYTES": "'2.5' is not a whole number."
        " Give a whole number from 1024 up to 1000000000 (the default is 20000000).",
        "LLM_PROVIDER": "'gpt' is not known. Choose one of: anthropic, openai.",
        "LLM_TIMEOUT": "'nan' is not a number."
        " Give a number greater than 0 up to 3600 (the default is 10).",
        "RESUME_AFTER_HOURS": "'0' is too small."
        " Give a number greater than 0 up to 8760 (the default is 2).",
        "DEBOUNCE_CAP_SECONDS": "1 is below DEBOUNCE_SECONDS (2)."
        " Raise it to 2 or more, or lower DEBOUNCE_SECONDS.",
        "N8N_ENABLED": "'perhaps' is neither true nor false. Write true or false.",
    }


def test_the_text_of_the_error_has_a_line_for_each_fault():
    with pytest.raises(ConfigurationError) as caught:
        load(LLM_ATTEMPTS="0", HISTORY_MESSAGES="many")
    lines = str(caught.value).splitlines()
    assert lines[0] == "The configuration cannot be used:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "LLM_ATTEMPTS",
        "HISTORY_MESSAGES",
    ]


@pytest.mark.parametrize("url", ["", "https://abc.supabase.co"])
@pytest.mark.parametrize("key", ["", "sb_secret_0123456789abcdef"])
def test_supabases_address_and_key_need_each_other(url, key):
    env = {"SUPABASE_URL": url, "SUPABASE_SERVICE_ROLE_KEY": key}
    if bool(url) == bool(key):
        load(**env)
    else:
        assert "SUPABASE_URL" in faults_of(**env)["SUPABASE_SERVICE_ROLE_KEY"]


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("https://abc.supabase.co/rest/v1", "nothing behind it"),
        ("postgresql://postgres:hunter22@db.abc.supabase.co/postgres", "DATABASE_URL"),
        ("ftp://abc.supabase.co", "https://xxx.supabase.co"),
        ("https://", "no host"),
        ("https://abc .supabase.co", "spaces"),
        ("https://abc.supabase.co:port", "port"),
        ("https://[::1", "not a URL"),
    ],
)
def test_a_wrong_supabase_address_is_refused_with_a_hint(url, hint):
    faults = faults_of(SUPABASE_URL=url, SUPABASE_SERVICE_ROLE_KEY="sb_secret_0123456789abcdef")
    assert list(faults) == ["SUPABASE_URL"]
    assert hint in faults["SUPABASE_URL"]
    assert "hunter22" not in faults["SUPABASE_URL"]


@pytest.mark.parametrize("key", [supabase_jwt("anon"), "sb_publishable_0123456789"])
def test_supabases_public_key_is_refused(key):
    faults = faults_of(SUPABASE_URL="https://abc.supabase.co", SUPABASE_SERVICE_ROLE_KEY=key)
    assert "service_role" in faults["SUPABASE_SERVICE_ROLE_KEY"]


@pytest.mark.parametrize("key", [supabase_jwt("service_role"), "sb_secret_0123456789abcdef"])
def test_supabases_secret_key_is_taken_without_a_warning(key):
    settings = load(SUPABASE_URL="https://abc.supabase.co", SUPABASE_SERVICE_ROLE_KEY=key)
    assert not [line for line in settings.warnings() if "SERVICE_ROLE" in line]


@pytest.mark.parametrize("key", ["eyJhbGciOi", "eyJ.eyJ.x", "a.%%%.b", "a.W10.b"])
def test_a_supabase_key_of_unknown_form_is_taken_with_a_warning(key):
    settings = load(SUPABASE_URL="https://abc.supabase.co", SUPABASE_SERVICE_ROLE_KEY=key)
    assert any("does not look like a service_role key" in line for line in settings.warnings())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:secret@127.0.0.1:5432/hybridflow",
        "postgres:///hybridflow?host=/run/postgresql",
        "postgresql://app:p%40ss@one:5432,two:5433/db?sslmode=require",
    ],
)
def test_addresses_of_databases_are_taken_as_asyncpg_takes_them(url):
    database_url = load(DATABASE_URL=url).database_url
    assert database_url is not None
    assert database_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("https://abc.supabase.co", "SUPABASE_URL"),
        ("postgresql+asyncpg://u:hunter22@h/db", "postgresql://user:password@host"),
        ("host=localhost password=hunter22", "postgresql://user:password@host"),
        ("postgresql://postgres:[YOUR-PASSWORD]@db.abc.supabase.co:5432/postgres", "password"),
        ("postgresql://u:hunter22#1@h/db", "Percent-encode"),
        ("postgresql://u:[hunter22@h/db", "Percent-encode"),
    ],
)
def test_a_wrong_database_address_is_refused_without_its_password(url, hint):
    fault = faults_of(DATABASE_URL=url)["DATABASE_URL"]
    assert hint in fault
    assert "hunter22" not in fault


@pytest.mark.parametrize(
    ("keys", "entry"),
    [("justakey", 1), ("ana:k1,:k2", 2), ("ana:", 1), ("a b:key", 1), ("ana:k1,ana:k2", 2)],
)
def test_api_keys_without_a_proper_name_are_refused(keys, entry):
    fault = faults_of(API_KEYS=keys)["API_KEYS"]
    assert f"entry {entry} " in fault
    assert "justakey" not in fault


@pytest.mark.parametrize(
    "name",
    ["CRON_SECRET", "EVOLUTION_API_KEY", "ANTHROPIC_API_KEY", "EVOLUTION_WEBHOOK_SHARED_SECRET"],
)
@pytest.mark.parametrize("secret", ["two words", "line\nbreak", "chave-secretá"])
def test_secrets_that_no_header_can_carry_are_refused(name, secret):
    fault = faults_of(**{name: secret})[name]
    assert "HTTP headers" in fault
    assert secret not in fault


@pytest.mark.parametrize(
    ("origins", "hint"),
    [
        ("app.example", "protocol"),
        ("https://app.example/login", "protocol, host and port only"),
        ("https://user@app.example", "protocol, host and port only"),
        ("http://localhost:3000 https://app.example", "spaces"),
    ],
)
def test_origins_are_origins(origins, hint):
    assert hint in faults_of(CORS_ORIGINS=origins)["CORS_ORIGINS"]


@pytest.mark.parametrize(
    "url", ["https://ana:hunter22@h.example", "https://h.example?token=hunter22"]
)
def test_an_address_may_not_carry_a_secret(url):
    fault = faults_of(PUBLIC_URL=url)["PUBLIC_URL"]
    assert "Leave" in fault
    assert "hunter22" not in fault


@pytest.mark.parametrize("seconds", ["0", "0.5", "96", "100"])
def test_a_flow_has_no_longer_than_a_proxy_leaves_it(seconds: str):
    """n8n Cloud and others end a request after 100 seconds."""
    assert set(faults_of(N8N_ANSWER_SECONDS=seconds)) == {"N8N_ANSWER_SECONDS"}


def test_a_reply_may_be_made_for_as_long_as_a_flow_may_take():
    env = {"N8N_WEBHOOK_URL": "http://localhost:5678/webhook", "N8N_API_KEY": STRONG}
    slow = load(N8N_ENABLED="true", N8N_ANSWER_SECONDS="95", LLM_TIMEOUT="1", **env)
    assert slow.making_seconds > 95


@pytest.mark.parametrize("second", [{}, {"LLM_FALLBACK_PROVIDER": "openai"}])
def test_a_reply_may_be_made_for_as_long_as_asking_with_more_room_takes(second: dict[str, str]):
    keys = {"ANTHROPIC_API_KEY": STRONG, "OPENAI_API_KEY": STRONG}
    settings = load(LLM_TIMEOUT="50", LLM_ATTEMPTS="1", **keys, **second)
    assert settings.making_seconds >= (1 + len(second)) * 2 * 50


def test_n8n_needs_its_address_and_its_key_when_enabled():
    assert set(faults_of(N8N_ENABLED="true")) == {"N8N_WEBHOOK_URL", "N8N_API_KEY"}
    env = {"N8N_WEBHOOK_URL": "http://localhost:5678/webhook", "N8N_API_KEY": STRONG}
    assert load(N8N_ENABLED="true", **env).n8n_enabled


def test_the_lease_must_outlast_the_llm():
    assert "TURN_LEASE_SECONDS" in faults_of(TURN_LEASE_SECONDS="2.9")
    load(LLM_TIMEOUT="20", TURN_LEASE_SECONDS="3")


def test_a_send_may_not_time_out_while_it_shows_typing():
    assert "SEND_TIMEOUT" in faults_of(TYPING_SECONDS="5", SEND_TIMEOUT="5")["TYPING_SECONDS"]
    load(TYPING_SECONDS="0", SEND_TIMEOUT="0.5")


def test_a_message_may_not_wait_until_it_is_too_old():
    faults = faults_of(DEBOUNCE_SECONDS="60", DEBOUNCE_CAP_SECONDS="60", ANSWER_WITHIN_MINUTES="1")
    assert "ANSWER_WITHIN_MINUTES (1)" in faults["DEBOUNCE_SECONDS"]
    load(DEBOUNCE_SECONDS="59", DEBOUNCE_CAP_SECONDS="60", ANSWER_WITHIN_MINUTES="1")


def test_a_variable_with_a_fault_of_its_own_gets_no_second_complaint():
    env = {"DEBOUNCE_SECONDS": "x", "DEBOUNCE_CAP_SECONDS": "1", "SEND_TIMEOUT": "x"}
    faults = faults_of(**env, LLM_TIMEOUT="x", SUPABASE_URL="x", SUPABASE_SERVICE_ROLE_KEY=STRONG)
    assert set(faults) == {"DEBOUNCE_SECONDS", "SEND_TIMEOUT", "LLM_TIMEOUT", "SUPABASE_URL"}


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path):
    file = tmp_path / ".env"
    file.write_bytes(b"CRON_SECRET=\xff\xfe\n")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load_settings({}, file)


def test_a_folder_may_be_in_the_users_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ana")
    assert load(HYBRIDFLOW_DATA="~/data").hybridflow_data == Path("/home/ana/data")
    assert "Write it in full" in faults_of(HYBRIDFLOW_DATA="~nobody-at-all/x")["HYBRIDFLOW_DATA"]


def test_a_key_in_the_wrong_place_is_not_repeated():
    fault = faults_of(LLM_PROVIDER="sk-ant-hunter22")["LLM_PROVIDER"]
    assert fault == "the value (15 characters) is not known. Choose one of: anthropic, openai."


_CONFIDENTIAL = [
    "SUPABASE_SERVICE_ROLE_KEY",
    "DATABASE_URL",
    "EVOLUTION_WEBHOOK_SHARED_SECRET",
    "CRON_SECRET",
    "API_KEYS",
    "EVOLUTION_API_KEY",
    "ANTHROPIC_API_KEY",
    "OPENAI_API_KEY",
    "N8N_API_KEY",
]
_VALUES = st.text(max_size=60) | st.from_regex(r"(https?|postgresql)://[a-z@:/?#\[\]0-9%]{0,20}")


@pytest.mark.apart
@given(st.dictionaries(st.sampled_from(_NAMES), _VALUES))
@example({"PUBLIC_URL": "http://[", "DATABASE_URL": "postgresql://["})
def test_whatever_is_given_the_answer_is_settings_or_named_faults(env):
    outcome = outcome_of(env)
    if isinstance(outcome, Settings):
        outcome.warnings()
        assert len(outcome.summary()) == len(_NAMES)
    else:
        assert set(outcome.faults) <= set(_NAMES)
        assert outcome.__cause__ is outcome.__context__ is None


@given(
    st.sampled_from(_CONFIDENTIAL), st.sampled_from([" {} ü", "{}", "a:{}", "a:{} x", "http://{}"])
)
def test_no_secret_is_ever_repeated(name, form):
    secret = "h4nter22-h4nter22"
    outcome = outcome_of({name: form.format(secret)})
    texts = [str(outcome), repr(outcome)]
    if isinstance(outcome, Settings):
        texts += [*outcome.warnings(), *outcome.summary()]
    assert not [text for text in texts if secret in text]


# --- warnings


def test_closed_doors_and_missing_keys_are_warned_of_but_do_not_stop_the_start():
    warnings = "\n".join(load().warnings())
    for name in ("EVOLUTION_WEBHOOK_SHARED_SECRET", "CRON_SECRET", "API_KEYS", "ANTHROPIC_API_KEY"):
        assert f"{name} is not set" in warnings


def test_a_complete_configuration_has_no_warnings():
    settings = load(
        EVOLUTION_WEBHOOK_SHARED_SECRET=STRONG,
        CRON_SECRET=STRONG,
        API_KEYS=f"ana:{STRONG}",
        EVOLUTION_API_KEY=STRONG,
        ANTHROPIC_API_KEY="sk-ant-api03-0123456789",
        SECRETS_KEY=LONG,
    )
    assert settings.warnings() == ()


def test_without_a_key_for_the_tenants_secrets_the_cure_is_said():
    told = [line for line in load().warnings() if line.startswith("SECRETS_KEY")]
    assert len(told) == 1
    assert "openssl rand -hex 32" in told[0]
    assert "scripts.rotate_secrets" in told[0]


def test_a_key_for_secrets_that_could_be_guessed_stops_the_start():
    fault = faults_of(SECRETS_KEY=f"{LONG},{LONG[:31]}")["SECRETS_KEY"]
    assert "entry 2 is shorter than 32 characters" in fault
    assert LONG[:31] not in fault


def test_the_guides_example_secrets_are_warned_of():
    warned = {line.split()[0] for line in load(**_GUIDE).warnings()}
    assert warned == {
        "SUPABASE_SERVICE_ROLE_KEY",
        "EVOLUTION_WEBHOOK_SHARED_SECRET",
        "CRON_SECRET",
        "API_KEYS",
        "ANTHROPIC_API_KEY",
        "N8N_API_KEY",
        "SECRETS_KEY",
    }


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("429683C4C977415CAAFCCE10F7D57E11", "Evolution API's example"),
        ("429683c4c977415caafcce10f7d57e11", "Evolution API's example"),
        ("B6D711FCDE4D4FD5936544120E713976", "Evolution API's example"),
        ("mude-me", "example's text"),
        ("short-but-secret", None),
        ("short-but-secre", "shorter than 16"),
        ("abababababababababab", "repeats"),
    ],
)
def test_weak_secrets_are_warned_of(secret, reason):
    warnings = [
        line for line in load(EVOLUTION_API_KEY=secret).warnings() if "EVOLUTION_API" in line
    ]
    assert bool(warnings) == (reason is not None)
    assert all(reason in line for line in warnings)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"MEDIA_BUCKET": "received"}, "SUPABASE_URL is not"),
        ({"MEDIA_BUCKET": "received", "MEDIA_FOLDER": "/received"}, "so is MEDIA_FOLDER"),
        ({"MEDIA_BUCKET": "../received"}, "not the name of a bucket"),
    ],
)
def test_files_are_kept_in_one_place_that_there_is(more, fault):
    assert fault in faults_of(**more)["MEDIA_BUCKET"]
    project = {
        "SUPABASE_URL": "https://abc.supabase.co",
        "SUPABASE_SERVICE_ROLE_KEY": "sb_secret_0123456789abcdef",
    }
    assert load(**project, MEDIA_BUCKET="received").keeps_files
    assert not load(**project).keeps_files


@pytest.mark.parametrize("name", ["STT_API_KEY", "TTS_API_KEY"])
def test_the_keys_that_others_gave_may_be_short(name):
    assert not [line for line in load(**{name: "sk-1"}).warnings() if name in line]
    assert [line for line in load(**{name: "your-key-here"}).warnings() if name in line]


def test_a_weak_secret_among_several_is_warned_of_by_name():
    warnings = load(API_KEYS=f"ana:{STRONG},ci:12345").warnings()
    assert [line for line in warnings if "API_KEYS" in line] == [
        "API_KEYS (ci) is shorter than 16 characters: make one with: openssl rand -hex 32"
    ]


@pytest.mark.parametrize(
    ("env", "warning"),
    [
        ({"LLM_PROVIDER": "openai"}, "OPENAI_API_KEY is not set"),
        ({"LLM_FALLBACK_PROVIDER": "anthropic"}, "LLM_FALLBACK_PROVIDER is LLM_PROVIDER itself"),
        ({"LLM_FALLBACK_PROVIDER": "openai"}, "but OPENAI_API_KEY is not set"),
    ],
)
def test_what_cannot_work_fully_is_warned_of(env, warning):
    assert any(warning in line for line in load(**env).warnings())


# --- the summary and the example


def test_the_summary_says_set_for_secrets():
    settings = load(
        CRON_SECRET=STRONG,
        EVOLUTION_WEBHOOK_SHARED_SECRET=f"{STRONG},{STRONG}2",
        API_KEYS=f"ana:{STRONG},ci:{STRONG}2",
        DATABASE_URL="postgresql://u:p@h/db",
        CORS_ORIGINS="https://a.example,https://b.example",
        DEFAULT_SYSTEM_PROMPT="x" * 500,
    )
    summary = dict(line.split("=", 1) for line in settings.summary())
    assert list(summary) == _NAMES
    assert summary["CRON_SECRET"] == "set"
    assert summary["EVOLUTION_WEBHOOK_SHARED_SECRET"] == "set (2)"
    assert summary["API_KEYS"] == "set (ana, ci)"
    assert summary["DATABASE_URL"] == "set"
    assert summary["ANTHROPIC_API_KEY"] == summary["PUBLIC_URL"] == "not set"
    assert summary["CORS_ORIGINS"] == "https://a.example,https://b.example"
    assert summary["N8N_ENABLED"] == "false"
    assert summary["LLM_TIMEOUT"] == "10"
    assert summary["DEFAULT_SYSTEM_PROMPT"].endswith("x… (500 characters)")


def test_every_secret_that_is_set_is_among_the_secrets():
    settings = load(API_KEYS=f"ana:{STRONG}", EVOLUTION_WEBHOOK_SHARED_SECRET="one,two")
    assert list(settings.secrets()) == [
        ("EVOLUTION_WEBHOOK_SHARED_SECRET", SecretStr("one")),
        ("EVOLUTION_WEBHOOK_SHARED_SECRET", SecretStr("two")),
        ("API_KEYS (ana)", SecretStr(STRONG)),
    ]


def test_the_example_names_every_variable_once_and_no_other():
    assert [name for name, _ in _LINE.findall(_EXPLAINED)] == _NAMES


def test_the_example_as_it_is_gives_the_defaults():
    assert load_settings({}, _EXAMPLE) == load()


def test_the_example_shows_the_defaults(tmp_path):
    active = tmp_path / ".env"
    shown = _LINE.findall(_EXPLAINED)
    active.write_text("".join(f"{name}={value}\n" for name, value in shown))
    assert load_settings({}, active) == load()
    unset = {name for name, value in shown if not value}
    assert unset == {line.split("=")[0] for line in load().summary() if line.endswith("=not set")}
