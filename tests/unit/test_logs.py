"""The log: one line of JSON an event, and no secret in any."""

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from router.configuration.settings import load_settings
from router.intake.rejections import Rejected, Rejections
from router.llm.anthropic import AnthropicProvider
from router.llm.openai import OpenAiProvider
from router.logs.events import Action, bind_correlation, log_event
from router.logs.formatters import JsonFormatter, TextFormatter
from router.logs.scrubber import Scrubber, register_secret
from router.logs.setup import configure_logging
from tests.for_each import for_each

_log = logging.getLogger("router.somewhere")
_OTHERS = (
    *("uvicorn", "uvicorn.error", "uvicorn.access", "httpx", "httpx2", "httpcore2"),
    *("anthropic", "openai", "router.somewhere"),
)
_ANTHROPIC = AnthropicProvider(SecretStr("k"), base_url=None, model="m", timeout=1)
_OPENAI = OpenAiProvider(SecretStr("k"), base_url=None, model="m", timeout=1)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(), *map(logging.getLogger, _OTHERS)]
    kept = [(log, log.handlers[:], log.level, log.propagate) for log in loggers]
    with warnings.catch_warnings():
        yield
    logging.captureWarnings(capture=False)
    for log, handlers, level, propagate in kept:
        log.handlers[:] = handlers
        log.setLevel(level)
        log.propagate = propagate


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def configure(stream, **env):
    configure_logging(load_settings(env, env_file=None), stream)


def raised(message: str) -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError(message)
    return caught.value


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_object_in_a_fixed_order(stream):
    configure(stream)
    with bind_correlation("c-1"):
        log_event(
            _log, Action.WEBHOOK_RECEIVED, "Webhook received", event="messages.upsert", session_id=7
        )
    (line,) = lines(stream)
    assert list(line) == [
        "timestamp", "level", "message", "action", "event", "session_id", "correlation_id",
    ]  # fmt: skip
    written = datetime.fromisoformat(line.pop("timestamp"))
    assert written.tzinfo == UTC
    assert line == {
        "level": "INFO",
        "message": "Webhook received",
        "action": "webhook_received",
        "event": "messages.upsert",
        "session_id": 7,
        "correlation_id": "c-1",
    }


def test_the_actions_of_the_guide_are_there():
    guide = {"webhook_received", "ai_replied", "paused", "ai_failed", "evolution_send_failed"}
    assert guide <= set(Action)
    assert all(action.value == action.name.lower() for action in Action)


def test_text_over_several_lines_stays_one_line(stream):
    configure(stream)
    log_event(_log, Action.AI_FAILED, "first\nsecond 100% %s", level=logging.WARNING)
    (line,) = lines(stream)
    assert line["message"] == "first\nsecond 100% %s"
    assert line["level"] == "WARNING"


def test_lines_below_the_level_are_not_written(stream):
    configure(stream, LOG_LEVEL="warning")
    log_event(_log, Action.STARTED, "quiet")
    log_event(_log, Action.DATABASE_AWAY, "loud", level=logging.ERROR)
    assert [line["message"] for line in lines(stream)] == ["loud"]


def test_configuring_again_replaces_the_first_and_leaves_other_handlers(stream):
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    configure(io.StringIO())
    configure(stream)
    log_event(_log, Action.STARTED, "once")
    assert len(lines(stream)) == 1
    assert other in logging.getLogger().handlers


def test_an_exception_is_part_of_its_line(stream):
    configure(stream)
    error = raised("it broke")
    log_event(_log, Action.UNEXPECTED, "unexpected", level=logging.ERROR, exc_info=error)
    (line,) = lines(stream)
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("RuntimeError: it broke")


def test_a_correlation_id_that_is_given_counts_before_the_bound_one(stream):
    configure(stream)
    with bind_correlation("bound"):
        log_event(_log, Action.STARTED, "x", correlation_id="given")
        log_event(_log, Action.STARTED, "x", correlation_id=None)
    log_event(_log, Action.STARTED, "x")
    assert [line.get("correlation_id") for line in lines(stream)] == ["given", "bound", None]
    assert "correlation_id" not in lines(stream)[2]


async def test_tasks_begun_together_keep_their_own_correlation_ids(stream):
    configure(stream)
    both_bound = asyncio.Barrier(2)

    async def work(name: str) -> None:
        with bind_correlation(name):
            await both_bound.wait()
            log_event(_log, Action.TURN_CLAIMED, name)

    await asyncio.gather(work("one"), work("two"))
    assert all(line["message"] == line["correlation_id"] for line in lines(stream))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Action.PAUSED, "paused"),
        (datetime(2026, 1, 23, tzinfo=UTC), "2026-01-23T00:00:00Z"),
        (SecretStr("hunter22"), "**********"),
        (ValueError("wrong"), "wrong"),
        ("\ud800", "\\ud800"),
        (2**70, str(2**70)),
        ({1: 2}, "{1: 2}"),
    ],
)
def test_whatever_a_field_is_the_line_is_written(stream, value, written):
    configure(stream)
    log_event(_log, Action.STARTED, "x", value=value, count=3)
    (line,) = lines(stream)
    assert (line["value"], line["count"]) == (written, 3)
    assert datetime.fromisoformat(line["timestamp"]).tzinfo == UTC


def test_a_circle_is_written_too(stream):
    configure(stream)
    circle: list[object] = []
    circle.append(circle)
    log_event(_log, Action.STARTED, "x", circle=circle)
    assert lines(stream)[0]["circle"] == "[[...]]"


# --- libraries


def test_uvicorns_lines_go_the_same_way_without_the_requests(stream):
    server = logging.getLogger("uvicorn")
    server.addHandler(logging.StreamHandler())
    server.propagate = False
    access = logging.getLogger("uvicorn.access")
    access.addHandler(logging.StreamHandler())
    configure(stream)
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 42)
    assert not access.hasHandlers()  # which is what uvicorn looks at
    (line,) = lines(stream)
    assert line["message"] == "Started server process [42]"
    assert line["logger"] == "uvicorn.error"
    assert "action" not in line


def test_at_debug_the_requests_are_logged_without_their_tokens(stream):
    token = "webhook/secret+0123456789"
    configure(stream, LOG_LEVEL="debug", EVOLUTION_WEBHOOK_SHARED_SECRET=token)
    logging.getLogger("uvicorn.access").info(
        '%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "POST",
        "/webhook/demo?token=webhook%2Fsecret%2B0123456789", "1.1", 200,
    )  # fmt: skip
    assert lines(stream)[0]["message"].endswith('"POST /webhook/demo?… HTTP/1.1" 200')


def test_clients_do_not_log_requests_even_at_debug(stream):
    configure(stream, LOG_LEVEL="debug")
    logging.getLogger("httpx").info("HTTP Request: POST http://evolution.example")
    logging.getLogger("openai._base_client").debug("Request options: the customer's words")
    assert lines(stream) == []


@pytest.mark.parametrize("provider", [_ANTHROPIC, _OPENAI], ids=lambda each: each.name)
async def test_what_the_sdks_ask_is_not_logged_by_their_own_http_client(provider, stream):
    configure(stream, LOG_LEVEL="debug")
    await provider.load()
    assert lines(stream) == []


def test_a_warning_of_python_is_a_line_too(stream):
    configure(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
    (line,) = lines(stream)
    assert line["logger"] == "py.warnings"
    assert "old ways" in line["message"]


def test_a_record_with_an_action_of_its_own_does_no_harm(stream):
    configure(stream)
    logging.getLogger("library").warning("x", extra={"action": "theirs", "fields": 3})
    assert lines(stream)[0]["logger"] == "library"


# --- secrets and people


def test_secrets_of_the_configuration_appear_in_no_line(stream):
    secrets = ["cron-secret-01234", "webhook-one-0123", "webhook-two-0123", "key-of-ana-01234"]
    configure(
        stream,
        CRON_SECRET=secrets[0],
        EVOLUTION_WEBHOOK_SHARED_SECRET=",".join(secrets[1:3]),
        API_KEYS=f"ana:{secrets[3]}",
        DATABASE_URL="postgresql://app:db-k%40tzen@h/db",
    )
    error = raised(f"refused: {secrets[0]}")
    log_event(_log, Action.UNEXPECTED, secrets[1], exc_info=error, nested={"key": secrets[3]})
    logging.getLogger("library").error("at postgresql://app:db-k%%40tzen@h/db: %s", secrets[2])
    logging.getLogger("library").error("wrong password db-k%40tzen, that is db-k@tzen")
    text = stream.getvalue()
    assert not [secret for secret in [*secrets, "tzen"] if secret in text]
    assert text.count("***") == 7


def test_a_secret_that_json_writes_differently_is_found(stream):
    configure(stream)
    register_secret(SecretStr('back\\slash"quote'))
    log_event(_log, Action.STARTED, 'it is back\\slash"quote')
    assert lines(stream)[0]["message"] == "it is ***"


def test_what_is_a_secret_by_its_form_stands_in_no_line():
    """Whatever is looked for first to be quick: each of the forms is found, alone in its line."""
    uuid = "0f8fad5b-d9cb-469f-a165-70867728950e"
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0abc.c2lnbmF0dXJl-_0"
    own = "Ab3_-".ljust(43, "x")
    for secret in (
        *(f"hft_12_{uuid}", f"hfn_7_{uuid}", f"hfk_{own}", f"whs_{own}"),
        *("EAAGm0PX4ZCpsBA", jwt),
    ):
        line = Scrubber().line(f'{{"message":"it said {secret}!"}}')
        assert line == '{"message":"it said ***!"}', secret


@given(st.from_regex(r"[\x21-\x7e]{8,30}", fullmatch=True))
def test_no_line_contains_a_registered_secret(secret):
    scrub = Scrubber()
    scrub.add(secret)
    text = f"it is {secret} here"
    record = logging.LogRecord("x", logging.INFO, "", 0, text, None, None)
    assert json.dumps(secret)[1:-1] not in JsonFormatter(scrub).format(record)
    assert secret not in TextFormatter(scrub).format(record)


def test_a_secret_inside_a_longer_one_leaves_nothing_of_it():
    scrub = Scrubber()
    scrub.add("password")
    scrub.add("a-password-and-more")
    assert scrub("x a-password-and-more y password") == "x *** y ***"


def test_what_is_too_short_to_be_a_secret_spoils_no_line():
    scrub = Scrubber()
    scrub.add("ok")
    scrub.add("")
    assert scrub("all is ok") == "all is ok"


# --- secrets that tenants choose

_KEYS_NOBODY_HAS = [
    *Action,
    *("timestamp", "level", "message", "action", "tenant_id", "instance", "correlation_id"),
    *("operator", "takeover", "pharmacy", "Evolution", "key", "1234567", "x" * 5000, ""),
]


@for_each("word", _KEYS_NOBODY_HAS)
@for_each("form", [JsonFormatter, TextFormatter])
def test_no_key_that_a_tenant_chooses_takes_words_out_of_the_lines(form, word):
    untouched, spoilt = Scrubber(), Scrubber()
    spoilt.add_recent(word)
    record = logging.LogRecord(
        "router.x", logging.ERROR, "", 0, "paused by an operator: takeover", None, None
    )
    record.__dict__.update(
        action=Action.PAUSED,
        fields={"tenant_id": 1234567, "instance": "pharmacy", "server": "Evolution"},
    )
    assert form(spoilt).format(record) == form(untouched).format(record)


@pytest.mark.parametrize("word", ["webhook_secret_made", "padaria-2", "1764126785", "key-99999"])
def test_a_line_stays_json_and_keeps_its_own_fields_whatever_a_key_is(word):
    scrub = Scrubber()
    scrub.add_recent(word)
    record = logging.LogRecord("router.x", logging.INFO, "", 0, f"said {word}", None, None)
    record.__dict__.update(
        action=Action.WEBHOOK_SECRET_MADE, fields={"instance": "padaria-2", "caller": "key-99999"}
    )
    line = json.loads(JsonFormatter(scrub).format(record))
    assert line["action"] == "webhook_secret_made"
    assert (line["instance"], line["caller"]) == ("padaria-2", "key-99999")


@pytest.mark.parametrize("form", [JsonFormatter, TextFormatter])
def test_a_tenants_key_is_in_no_message_field_or_exception(form):
    scrub = Scrubber()
    scrub.add_recent("EVO-k3y/of?1")
    error = raised("refused EVO-k3y/of?1")
    record = logging.LogRecord(
        "router.x", logging.INFO, "", 0, "it is EVO-k3y/of?1", None, (RuntimeError, error, None)
    )
    record.__dict__.update(
        action=Action.UNEXPECTED,
        fields={
            "detail": "EVO-k3y/of?1",
            "nested": {"deep": ["EVO-k3y/of?1"], "url": "http://h/?k=EVO-k3y%2Fof%3F1"},
        },
    )
    line = form(scrub).format(record)
    assert "k3y" not in line
    assert line.count("***") == 5


def test_what_tenants_choose_takes_no_memory_without_end():
    scrub = Scrubber()
    for number in range(1000):
        scrub.add_recent(f"{number:08}" + "\U0010fffd" * 4000)
    for number in range(1000):
        scrub.add_recent(f"{number}" + "x" * 1_000_000)
    assert len(scrub._recent) <= 100
    assert sum(len(form) for forms in scrub._recent.values() for form in forms) <= 500_000
    assert scrub._characters == sum(len(f) for forms in scrub._recent.values() for f in forms)


def test_the_newest_keys_are_those_that_are_known():
    scrub = Scrubber()
    for number in range(300):
        scrub.add_recent(f"evo-key-{number:04}")
    assert scrub("evo-key-0299 evo-key-0000") == "*** evo-key-0000"


# --- what others put in


UNSAFE = "\x1b[2J\r\n12:00:00 INFO fake\x9b\x7f\u2028\u2029\u202e\u200b\x00"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_others_say_obeys_no_terminal_and_forges_no_line(stream, log_format):
    configure(stream, LOG_FORMAT=log_format)
    log_event(_log, Action.WEBHOOK_REJECTED, f"said {UNSAFE}", instance=UNSAFE, exc_info=None)
    logging.getLogger("library").warning("path %s", UNSAFE)
    error = raised(f"it was {UNSAFE}")
    log_event(_log, Action.UNEXPECTED, "no", level=logging.ERROR, exc_info=error)
    text = stream.getvalue()
    assert not set(UNSAFE.replace("\n", "")) & set(text) - set("[2J12:00:00 INFO fake")
    assert "\\u2028" in text
    lines_ = text.splitlines()
    if log_format == "json":
        assert len(lines_) == 3
        assert json.loads(lines_[0])["instance"] == UNSAFE
    assert not any(line.startswith("12:00:00 INFO fake") for line in lines_)


@pytest.mark.parametrize(
    "name", ["5511955550001", "loja-5511955550001", "loja5511955550001x", "a.5511955550001"]
)
def test_a_number_in_the_name_of_an_instance_is_masked(stream, name):
    configure(stream)
    log_event(_log, Action.WEBHOOK_REJECTED, f"too many of '{name}'", instance=name)
    assert "5511955550001" not in stream.getvalue()
    assert lines(stream)[0]["instance"] == name.replace("5511955550001", "(number …01)")


def test_a_number_in_any_field_is_left_out(stream):
    configure(stream)
    log_event(_log, Action.TURN_DEAD, "no", error="not on it: 5511955550001@s.whatsapp.net")
    assert lines(stream)[0]["error"] == "not on it: (number)"


async def test_rejected_webhooks_are_logged_once_for_each_kind_and_then_counted(stream):
    configure(stream)
    rejections = Rejections()
    for number in range(5000):
        rejections.note(Rejected(401, "bad_secret", "the secret is wrong"), "padaria")
        rejections.note(Rejected(401, "bad_secret", "the secret is wrong"), f"made-up-{number}")
    rejections.note(Rejected(413, "too_large", "it is too large"), "padaria")
    assert len(lines(stream)) <= 20
    rejections.tell()
    (told,) = (line for line in lines(stream) if line.get("code") == "bad_secret")
    assert told["count"] == 10_000 - 20
    rejections.note(Rejected(413, "too_large", "it is too large"), "padaria")
    assert lines(stream)[-1]["instance"] == "padaria"
    rejections.tell()


# --- for a person


def test_the_text_format_is_for_reading(stream):
    configure(stream, LOG_FORMAT="text")
    with bind_correlation("c-1"):
        log_event(_log, Action.PAUSED, "paused:\na human wrote", session_id=7)
    line = stream.getvalue()
    assert line[8:] == (
        " INFO     paused:\\na human wrote  action=paused session_id=7 correlation_id=c-1\n"
    )


def test_the_text_format_leaves_out_the_screen_full_of_the_configuration():
    record = logging.makeLogRecord(
        {"msg": "ready", "action": Action.STARTED, "fields": {"configuration": ["A=1"], "left": 2}}
    )
    text = TextFormatter(Scrubber()).format(record)
    assert text.endswith("ready  action=started left=2")
    assert json.loads(JsonFormatter(Scrubber()).format(record))["configuration"] == ["A=1"]


def test_the_text_format_shows_an_exception_below_and_scrubs_it():
    scrub = Scrubber()
    scrub.add("hunter22")
    error = raised("not hunter22")
    exc_info = (RuntimeError, error, error.__traceback__)
    record = logging.LogRecord("lib", logging.ERROR, "", 0, "no", None, exc_info)
    text = TextFormatter(scrub).format(record)
    assert text.splitlines()[0].endswith("ERROR    no  logger=lib")
    assert text.endswith("RuntimeError: not ***")


def test_lines_go_to_standard_output_by_default(capsys):
    configure_logging(load_settings({}, env_file=None))
    log_event(_log, Action.STARTED, "hello")
    assert json.loads(capsys.readouterr().out)["message"] == "hello"


# --- people


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("400: 5511955550001 is not there", "400: (number) is not there"),
        ("to +5511955550001.", "to (number)."),
        ("loja_5511955550001 is away", "loja_(number) is away"),
        ("0.12345678901234 s", "0.12345678901234 s"),
        ("jid 5511955550001@s.whatsapp.net", "jid (number)"),
        ("201955550001001@lid wrote", "(number) wrote"),
        ("turn 12345 of 176390000", "turn 12345 of 176390000"),
        ("not on WhatsApp: 4791234567", "not on WhatsApp: (number)"),
        ("4791234567, 6591234567: refused", "(number), (number): refused"),
        ("to +67722345", "to (number)"),
        ("at 10:00:00+0000", "at 10:00:00+0000"),
        ("within 10.1234567890 s", "within 10.1234567890 s"),
        ("execution 3EB05511955550001AA", "execution 3EB05511955550001AA"),
    ],
)
def test_numbers_in_what_others_say_are_left_out(stream, said, written):
    configure(stream)
    log_event(_log, Action.TURN_DEAD, said)
    assert json.loads(stream.getvalue())["message"] == written
