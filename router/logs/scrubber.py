"""The last defence: removes known secrets, and what looks like a secret, from every line."""

import re
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson
from pydantic import SecretStr

# What looks like a secret: flows' tokens, Meta's access tokens, tenants' own webhook secrets, API
# keys, JWTs.
_TELLING = re.compile(
    r"hf[tn]_\d+_[0-9a-f-]{36}|\bEAA\w{8,}|(?:whs|hfk)_[\w-]{20,}"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+"
)
# Each of them contains one of these. Looking for six words costs a tenth of the pattern.
_SIGNS = ("hft_", "hfn_", "hfk_", "whs_", "EAA", "eyJ")
_SHORTEST_SECRET = 6
# The tenants' secrets that the scrubber knows at one time: how many, how long, how long in all.
_MOST_RECENT = 100
_RECENT_LENGTHS = range(8, 4097)
_MOST_CHARACTERS = 500_000
# Ordinary words of log lines. If a tenant's "secret" were one, it would be removed from all lines.
_WORDS = re.compile(r"[A-Z]?[a-z]+(?:[ ._-][a-z]+)*")
# Fields by which lines are searched. Their values are ours, so tenants' secrets are not removed.
_OURS = frozenset({
    "timestamp", "level", "action", "logger", "instance", "contact", "correlation_id", "caller",
    "columns", "decision", "outcome", "event",
})  # fmt: skip


class Scrubber:
    """The last defence: replaces known secrets in log lines.

    The deployment's secrets are replaced in whole lines. Secrets that tenants chose are replaced
    only in the values of fields, so that they can neither break the format of a line nor hide whose
    line it is.
    """

    def __init__(self) -> None:
        self._forms: tuple[str, ...] = ()
        self._recent: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._characters = 0

    def add(self, secret: str) -> None:
        """Replace this secret from now on, also as JSON and URLs spell it.

        A secret of fewer than six characters is ignored: replacing it would damage lines that do
        not contain it.
        """
        self._forms = _longest_first(_forms(secret).union(self._forms))

    def add_recent(self, secret: str) -> None:
        """Replace this secret as long as it is one of the last that were used.

        For secrets whose number is unlimited: each costs a search in every line. A value that is
        too short or too long, or looks like ordinary words, is ignored: replacing it would damage
        other lines.
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
        """Return another program's text without any secret."""
        return self.line(self._without_recent(text))

    def line(self, line: str) -> str:
        """Return a finished line without the deployment's secrets and what looks like a secret."""
        for form in self._forms:
            if form in line:
                line = line.replace(form, "***")
        return _TELLING.sub("***", line) if any(sign in line for sign in _SIGNS) else line

    def fields(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return a line's fields without the secrets that tenants chose."""
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
        return readable(value)


def _forms(secret: str) -> frozenset[str]:
    if len(secret) < _SHORTEST_SECRET:
        return frozenset()
    text = secret.encode("utf-8", "replace").decode()
    return frozenset({secret, orjson.dumps(text).decode()[1:-1], quote(text, safe="")})


def _longest_first(forms: Iterable[str]) -> tuple[str, ...]:
    """Sort them so that a secret that contains another one is replaced whole."""
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


def readable(value: object) -> str:
    """Return any value as text that can be written."""
    return str(value).encode("utf-8", "backslashreplace").decode()


scrubber = Scrubber()  # one for the process, like logging itself


def register_secret(secret: SecretStr) -> None:
    """Remove this secret from every line from now on."""
    scrubber.add(secret.get_secret_value())


def scrubbed(text: str) -> str:
    """Return another program's text without the known secrets, before it is stored."""
    return scrubber(text)


def shield_secret(secret: SecretStr) -> None:
    """Remove a tenant's secret, which is being used now, from the lines that follow."""
    scrubber.add_recent(secret.get_secret_value())
