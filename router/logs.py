"""JSON logs on the standard library's logging, one line an event: `log_event` is the one way.

A line is {"timestamp", "level", "message", "action", …fields, "correlation_id"}; one that a library
wrote has its "logger" in place of the action. No message text and no phone number stands in a line
at info level, and a registered secret in none. `contact` stands for a person: the beginning of a
keyed hash (`router.people.hashing`).
"""

import logging
import re
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO
from urllib.parse import quote, unquote, urlsplit

import orjson
from pydantic import SecretStr

from router.configuration.settings import Settings

_correlation: ContextVar[str | None] = ContextVar("correlation_id", default=None)
_contact: ContextVar[str | None] = ContextVar("contact", default=None)

# Libraries that log requests, their addresses or their bodies below WARNING.
_QUIET = (
    *("anthropic", "openai", "httpx2", "httpcore2"),  # the SDKs have an HTTP client of their own
    *("asyncio", "httpcore", "httpx", "hpack"),
)
_SERVER = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
# What is a secret by its form: tokens of flows, Meta's access tokens, tenants' own webhook secrets,
# keys of the API, JWTs.
_TELLING = re.compile(
    r"hf[tn]_\d+_[0-9a-f-]{36}|\bEAA\w{8,}|(?:whs|hfk)_[\w-]{20,}"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+"
)
# What may be a phone number or a JID, in what others say: an error of Evolution, a path, a value.
_PERSON = re.compile(
    r"(?<![A-Za-z0-9.])\+?(?:\d{5,18}@(?:s\.whatsapp\.net|lid)|\d{11,18}(?![A-Za-z0-9]|\.\d))"
)
_DIGITS = re.compile(r"\d{8,}")  # in the name of an instance, which people call by their number
# What a terminal obeys, what ends a line for some readers, and what turns the order of a text.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
_QUERY = re.compile(r"\?[^ \"]*")
_SHORTEST_SECRET = 6
# Secrets of tenants that the scrubber knows at a time: how many, how long, how much in all.
_MOST_RECENT = 100
_RECENT_LENGTHS = range(8, 4097)
_MOST_CHARACTERS = 500_000
# Words as lines are made of: a tenant's "secret" that is one would take them out of everybody's.
_WORDS = re.compile(r"[A-Z]?[a-z]+(?:[ ._-][a-z]+)*")
# Fields by which a line is found; what stands in them is ours, never what a tenant's secret says.
_OURS = frozenset({
    "timestamp", "level", "action", "logger", "instance", "contact", "correlation_id", "caller",
    "columns", "decision", "outcome", "event",
})  # fmt: skip


class Action(StrEnum):
    """What happened: the `action` of a line, to filter and to alert by."""

    # The way in
    WEBHOOK_RECEIVED = "webhook_received"  # committed; `decision` says as what
    WEBHOOK_IGNORED = "webhook_ignored"  # deliberately; `reason` says why
    WEBHOOK_REJECTED = "webhook_rejected"  # answered with `status`; of many alike, `count`
    # Who answers
    TAKEOVER = "takeover"  # a human of the business wrote
    PAUSED = "paused"  # the AI is silent for a session; `source` says who wanted it
    RESUMED = "resumed"  # the AI answers again; `source` says who wanted it
    AUTO_RESUMED = "auto_resumed"  # every pause that had run out was ended; `resumed` counts them
    PRUNED = "pruned"  # what is past its time was archived or deleted; counts of each kind
    # The way out
    TURN_PENDING = "turn_pending"  # a reply is to be made at `due_in` seconds
    TURN_CLAIMED = "turn_claimed"  # an attempt begins
    TURN_CANCELLED = "turn_cancelled"  # not sent: `reason`
    TURN_RETRY = "turn_retry"  # an attempt failed and another follows
    TURN_RETRIED = "turn_retried"  # an operator gave a dead turn new attempts
    TURN_DEAD = "turn_dead"  # out of attempts, or it can never work
    AI_REPLIED = "ai_replied"  # every part of the reply is sent
    AI_FAILED = "ai_failed"  # the LLM gave no reply
    EVOLUTION_SEND_FAILED = "evolution_send_failed"  # Evolution API certainly sent nothing
    SEND_IN_DOUBT = "send_in_doubt"  # it may be on the phone; evidence is being looked for
    SEND_SETTLED = "send_settled"  # the doubt is over; `outcome` says how
    REPLY_REFUSED = "reply_refused"  # by `rule`; `outcome` says what became of it
    MODERATION_AWAY = "moderation_away"  # the moderation service gave no usable answer
    # The connection to WhatsApp
    CONNECTION_CHANGED = "connection_changed"
    QRCODE_UPDATED = "qrcode_updated"
    GAP_REPAIRED = "gap_repaired"  # what no webhook brought was fetched
    GAP_REPAIR_FAILED = "gap_repair_failed"
    # The people of the business
    NOTICE_TOLD = "notice_told"  # of a handoff or the connection, to everybody who is to be told
    NOTICE_FAILED = "notice_failed"  # somebody was not told; it is tried again unless it is dead
    # The program
    STARTED = "started"
    STOPPED = "stopped"
    MIGRATED = "migrated"
    DATABASE_AWAY = "database_away"
    SCHEMA_DIFFERS = "schema_differs"  # the database has an older or newer schema
    DATABASE_BACK = "database_back"
    CONNECTIONS_REFUSED = "connections_refused"  # beyond a bound; `count` since the last line
    CONNECTIONS_REPLACED = "connections_replaced"  # a pool had lost many of its connections
    TENANT_CREATED = "tenant_created"
    TENANT_CHANGED = "tenant_changed"
    WEBHOOK_SECRET_MADE = "webhook_secret_made"  # nosec B105  # noqa: S105 - an action
    WEBHOOK_SECRET_RETIRED = "webhook_secret_retired"  # nosec B105  # noqa: S105 - an action
    API_KEY_MADE = "api_key_made"
    API_KEY_REVOKED = "api_key_revoked"
    MEMBER_SET = "member_set"  # a user has a role in a tenant from now on
    MEMBER_REMOVED = "member_removed"
    CONTACT_EXPORTED = "contact_exported"  # somebody's data was given out, all of it
    CONTACT_ERASED = "contact_erased"  # somebody's data was erased, all of it
    EXECUTIONS_KEPT = "executions_kept"  # n8n still has executions of erased people; why
    UNEXPECTED = "unexpected"  # an error that nobody foresaw, with its traceback


def log_event(
    logger: logging.Logger,
    action: Action,
    message: str,
    *,
    level: int = logging.INFO,
    **fields: object,
) -> None:
    """Log one line with these fields.

    Two fields are special: `exc_info`, an exception, is written with its traceback, and a
    `correlation_id` counts before the bound one.
    """
    if logger.isEnabledFor(level):
        error = fields.pop("exc_info", None)
        exc_info = error if isinstance(error, BaseException) else None
        extra = {"action": action, "fields": fields}
        logger.log(level, message, exc_info=exc_info, extra=extra, stacklevel=2)


@contextmanager
def bind_correlation(correlation_id: str, contact: str | None = None) -> Iterator[None]:
    """Give every line of this block, and of tasks begun in it, the correlation id.

    `contact` is what stands for the person that it is about.
    """
    token, of_contact = _correlation.set(correlation_id), _contact.set(contact)
    try:
        yield
    finally:
        _correlation.reset(token)
        _contact.reset(of_contact)


class Scrubber:
    """The last defence: replaces the secrets it knows in what is written.

    Those of the deployment in whole lines; those that tenants chose in what is said alone, so that
    none of them can spoil a line's form, nor hide whose it is.
    """

    def __init__(self) -> None:
        self._forms: tuple[str, ...] = ()
        self._recent: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._characters = 0

    def add(self, secret: str) -> None:
        """Know a secret from now on, as it is, as JSON writes it and as an address does.

        Under six characters it is not looked for: it would spoil lines that do not contain it.
        """
        self._forms = _longest_first(_forms(secret).union(self._forms))

    def add_recent(self, secret: str) -> None:
        """Know a secret as long as it is among the last that were used.

        For secrets of which there is no end: each costs a look at every line. What is no secret
        by its length or its form is not looked for: it would spoil the lines of others.
        """
        if len(secret) not in _RECENT_LENGTHS or _WORDS.fullmatch(secret):
            return
        if secret not in self._recent:
            self._recent[secret] = _forms(secret)
            self._characters += _size(self._recent[secret])
        self._recent.move_to_end(secret)
        while len(self._recent) > _MOST_RECENT or self._characters > _MOST_CHARACTERS:
            _, forms = self._recent.popitem(last=False)
            self._characters -= _size(forms)

    def __call__(self, text: str) -> str:
        """Return a text of others without any secret."""
        return self.line(self._without_recent(text))

    def line(self, line: str) -> str:
        """Return a finished line without the deployment's secrets, and what is one by its form."""
        for form in self._forms:
            if form in line:
                line = line.replace(form, "***")
        return _TELLING.sub("***", line)

    def fields(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a line without the secrets that tenants chose."""
        if not self._recent:
            return content
        return {
            name: value if name in _OURS else self._field(value) for name, value in content.items()
        }

    def _field(self, value: object) -> object:
        if value is None or isinstance(value, bool | int | float | datetime):
            return value
        text = value if isinstance(value, str) else _as_text(value)
        scrubbed = self._without_recent(text)
        return value if scrubbed == text else scrubbed

    def _without_recent(self, text: str) -> str:
        found = [form for forms in self._recent.values() for form in forms if form in text]
        for form in _longest_first(found):
            text = text.replace(form, "***")
        return text


def _size(forms: Iterable[str]) -> int:
    return sum(map(len, forms))


def _as_text(value: object) -> str:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z).decode()
    except TypeError:
        return _readable(value)


def _forms(secret: str) -> frozenset[str]:
    if len(secret) < _SHORTEST_SECRET:
        return frozenset()
    text = secret.encode("utf-8", "replace").decode()
    return frozenset({secret, orjson.dumps(text).decode()[1:-1], quote(text, safe="")})


def _longest_first(forms: Iterable[str]) -> tuple[str, ...]:
    """Order them so that one that contains another goes as a whole."""
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


class JsonFormatter(logging.Formatter):
    """Makes a record one line of JSON."""

    def __init__(self, scrub: Scrubber) -> None:
        super().__init__()
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. What JSON cannot hold is written as text."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            **self._scrub.fields(_content(self, record)),
        }
        try:
            text = orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z)
        except TypeError:  # lone surrogates, huge numbers, circles
            text = orjson.dumps({name: _piece(value) for name, value in line.items()})
        return self._scrub.line(_safe(text.decode()))


class TextFormatter(logging.Formatter):
    """Makes a record one line for a person at a terminal."""

    def __init__(self, scrub: Scrubber) -> None:
        super().__init__()
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; an exception follows on lines of its own."""
        content = self._scrub.fields(_content(self, record))
        message = content.pop("message")
        exception = content.pop("exception", None)
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = " ".join(f"{name}={_readable(value)}" for name, value in content.items())
        lines = [f"{time} {record.levelname:<8} {message}  {fields}"]
        lines += [f"    {below}" for below in exception.split("\n")] if exception else []
        return self._scrub.line("\n".join(_safe(line, "\\x{:02x}") for line in lines))


def _content(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    action = getattr(record, "action", None)
    message = record.getMessage()
    message = _PERSON.sub("(number)", message)
    if record.name == "uvicorn.access":  # what is asked for may be a secret, or a phone number
        message = _QUERY.sub("?…", message)
    content: dict[str, Any] = {"message": message}
    if isinstance(action, Action):
        content.update({"action": action, **record.__dict__["fields"]})
        _mask_people(content)
    else:
        content["logger"] = record.name
    if record.exc_info:
        content["exception"] = _PERSON.sub("(number)", formatter.formatException(record.exc_info))
    for name, bound in (("contact", _contact), ("correlation_id", _correlation)):
        value = content.pop(name, None) or bound.get()
        if value is not None:
            content[name] = value
    return content


def shown_instance(name: str) -> str:
    """Return an instance's name, of a number in it no more than the last digits."""
    return _DIGITS.sub(lambda found: f"(number …{found[0][-2:]})", name)


def _mask_people(content: dict[str, Any]) -> None:
    """Leave numbers out of every text; an instance keeps the last digits, to be told by."""
    for name, value in content.items():
        if name in ("action", "contact", "correlation_id") or not isinstance(value, str):
            continue
        if name == "instance":
            masked = shown_instance(value)
            content["message"] = content["message"].replace(value, masked)
            content[name] = masked
        else:
            content[name] = _PERSON.sub("(number)", value)


def _safe(line: str, short: str = "\\u{:04x}") -> str:
    """Return the line with escapes for what is no letter, space or sign; one line stays one."""

    def escaped(found: re.Match[str]) -> str:
        code = ord(found[0])
        return "\\n" if code == 10 else (short if code < 256 else "\\u{:04x}").format(code)

    return _UNSAFE.sub(escaped, line)


def _piece(value: object) -> orjson.Fragment | str:
    try:
        return orjson.Fragment(orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z))
    except TypeError:
        return _readable(value)


def _readable(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()


class _EventHandler(logging.StreamHandler[TextIO]):
    """The handler of this module, to be told from others."""


_scrubber = Scrubber()  # one for the process, as logging itself is


def register_secret(secret: SecretStr) -> None:
    """Keep a secret out of every line from now on."""
    _scrubber.add(secret.get_secret_value())


def scrubbed(text: str) -> str:
    """Return what somebody else wrote without the secrets that are known, before it is kept."""
    return _scrubber(text)


def shield_secret(secret: SecretStr) -> None:
    """Keep a tenant's secret, which is being used now, out of the lines that come of it."""
    _scrubber.add_recent(secret.get_secret_value())


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every logger's lines to `stream` (standard output if None); again replaces the first.

    The settings' secrets are registered. uvicorn's lines go the same way, those about each request
    only at LOG_LEVEL=debug.
    """
    for _, secret in settings.secrets():
        register_secret(secret)
    if settings.database_url:
        _register_password(settings.database_url)
    handler = _EventHandler(stream or sys.stdout)
    make = TextFormatter if settings.log_format == "text" else JsonFormatter
    handler.setFormatter(make(_scrubber))
    root = logging.getLogger()
    others = [known for known in root.handlers if not isinstance(known, _EventHandler)]
    root.handlers[:] = [*others, handler]
    root.setLevel(settings.log_level.upper())
    logging.captureWarnings(capture=True)
    _leave_out_what_no_line_says()
    _route_libraries(verbose=settings.log_level == "debug")


def _leave_out_what_no_line_says() -> None:
    """Spare the look for the calling line, thread and process: a third of what a line costs.

    See "Optimization" in Python's guide to logging.
    """
    logging._srcfile = None  # noqa: SLF001 - as the guide says
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _route_libraries(*, verbose: bool) -> None:
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _SERVER:
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True
        server.setLevel(logging.NOTSET)
    # uvicorn makes no line for a logger that has no handler in reach.
    logging.getLogger("uvicorn.access").propagate = verbose


def _register_password(database_url: SecretStr) -> None:
    password = urlsplit(database_url.get_secret_value()).password
    if password:
        _scrubber.add(unquote(password))
        _scrubber.add(password)
