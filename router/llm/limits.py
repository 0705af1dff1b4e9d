"""What a server that speaks OpenAI's protocol calls the limit of tokens, and how that is learnt."""

import re
from urllib.parse import urlsplit

_OLD, _NEW = "max_tokens", "max_completion_tokens"
_REASONING = re.compile(r"(o\d|gpt-[5-9]|gpt-\d\d)")
_NOT_KNOWN = re.compile(
    r"not supported|unsupported|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed"
    r"|\bextra\b|additional propert|instead",
    re.IGNORECASE,
)
_MOST = 1_000  # models whose name is kept: tenants name them
_LONGEST = 10_000  # characters of an error that are looked at


class LimitNames:
    """What was learnt of one server, for each model: most servers answer for several kinds."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def learnt(self, model: str) -> str | None:
        """Return the name by which this model takes its limit, if it is known."""
        return self._names.get(model)

    def learn(self, model: str, name: str) -> None:
        """It took the limit by this name."""
        while len(self._names) >= _MOST:
            self._names.pop(next(iter(self._names)))
        self._names[model] = name


def limit_name(base_url: str | None, model: str) -> str:
    """Return how the server at this address calls the limit of tokens; None is OpenAI itself.

    OpenAI's reasoning models refuse the old name, also behind a proxy; many other servers know no
    other.
    """
    is_openai = base_url is None or urlsplit(base_url).hostname == "api.openai.com"
    return _NEW if is_openai or _REASONING.match(model) else _OLD


def other_name(name: str, error: object) -> str | None:
    """Return the name to try where an error says that the server does not know this one.

    That the limit is too high is no such error: it names the limit, and knows it.
    """
    other = _OLD if name == _NEW else _NEW
    said = str(error)[:_LONGEST]
    about = re.search(rf"(?<![a-z_]){name}(?![a-z_])", said)
    return other if about and _NOT_KNOWN.search(said) else None
