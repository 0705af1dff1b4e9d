"""Learns which name of the token limit a server with OpenAI's protocol accepts."""

import re
from urllib.parse import urlsplit

_OLD, _NEW = "max_tokens", "max_completion_tokens"
_REASONING = re.compile(r"(o\d|gpt-[5-9]|gpt-\d\d)")
_NOT_KNOWN = re.compile(
    r"not supported|unsupported|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed"
    r"|\bextra\b|additional propert|instead",
    re.IGNORECASE,
)
_MOST = 1_000  # models that are remembered, because tenants may name any
_LONGEST = 10_000  # characters of an error that are searched


class LimitNames:
    """What was learnt about one server, per model: most servers have several kinds of models."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def learnt(self, model: str) -> str | None:
        """Return the name that this model accepts for its limit, if it is known."""
        return self._names.get(model)

    def learn(self, model: str, name: str) -> None:
        """Note that the model accepted the limit under this name."""
        while len(self._names) >= _MOST:
            self._names.pop(next(iter(self._names)))
        self._names[model] = name


def limit_name(base_url: str | None, model: str) -> str:
    """Return the name of the token limit at this server; a `base_url` of None is OpenAI itself.

    OpenAI's reasoning models refuse the old name, also behind a proxy. Many other servers know only
    the old name.
    """
    is_openai = base_url is None or urlsplit(base_url).hostname == "api.openai.com"
    return _NEW if is_openai or _REASONING.match(model) else _OLD


def other_name(name: str, error: object) -> str | None:
    """Return the name to try next, if an error says that the server does not know `name`.

    An error that the limit is too high does not say so: that server knows the name.
    """
    other = _OLD if name == _NEW else _NEW
    said = str(error)[:_LONGEST]
    about = re.search(rf"(?<![a-z_]){name}(?![a-z_])", said)
    return other if about and _NOT_KNOWN.search(said) else None
