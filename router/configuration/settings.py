"""The configuration: read and checked once, at the start, with all errors reported together."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from router.configuration.addresses import LOOPBACK
from router.configuration.advice import is_placeholder, supabase_role, weakness
from router.configuration.faults import fault_text
from router.configuration.variables import LONGEST_RETRY_AFTER, Variables

_MAKING_MARGIN = 5.0  # seconds for everything except the LLM's calls
_GIVEN_BY_OTHERS = frozenset(
    {
        "SUPABASE_SERVICE_ROLE_KEY",
        "SUPABASE_JWT_SECRET",
        "ANTHROPIC_API_KEY",
        "OPENAI_API_KEY",
        "STT_API_KEY",
        "TTS_API_KEY",
        "MODERATION_API_KEY",
        "N8N_PUBLIC_API_KEY",
    }
)


class ConfigurationError(ValueError):
    """Some variables cannot be used. The text names each, its error and the fix, but no secret."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        lines = (f"  {name}: {fault}" for name, fault in faults.items())
        super().__init__("\n".join(("The configuration cannot be used:", *lines)))
        self.faults = dict(faults)


class Settings(Variables):
    """All settings, frozen. Made by `load_settings`."""

    @property
    def own_networks(self) -> tuple[str, ...]:
        """The addresses that tenants' URLs may lead to, besides public ones: ALLOWED_NETWORKS.

        If it is not set, there are none; but with the embedded database, loopback is allowed,
        because then everything runs on one machine, Evolution too.
        """
        if self.allowed_networks is not None:
            return self.allowed_networks
        return LOOPBACK if self.database_url is None and self.supabase_url is None else ()

    @property
    def shows_docs(self) -> bool:
        """Whether /docs is served: as API_DOCS says, else only with the embedded database."""
        if self.api_docs is not None:
            return self.api_docs
        return self.database_url is None and self.supabase_url is None

    @property
    def allowed_models(self) -> frozenset[str]:
        """The models that a tenant's admins may choose while it uses the deployment's keys."""
        return frozenset({self.anthropic_model, self.openai_model, *self.llm_models})

    @property
    def hears(self) -> bool:
        """Whether there is a service that transcribes sound."""
        several = (self.stt_local_model, self.stt_base_url, self.stt_api_key)
        return any(each is not None for each in several)

    @property
    def keeps_files(self) -> bool:
        """Whether a store for files from contacts is configured."""
        return self.media_folder is not None or self.media_bucket is not None

    @property
    def making_seconds(self) -> float:
        """How long an attempt may take to make a reply: all tries of all providers, and the waits.

        One of the tries may call the LLM twice, the second time with more tokens. So may a flow.
        """
        providers = 1 if self.llm_fallback_provider is None else 2
        asked = (self.llm_attempts + 1) * self.llm_timeout
        tries = asked + (self.llm_attempts - 1) * LONGEST_RETRY_AFTER
        seconds = providers * tries
        if self.n8n_enabled:
            seconds = max(seconds, 2 * self.n8n_answer_seconds)
        return seconds + self.moderation_timeout + _MAKING_MARGIN

    def warnings(self) -> tuple[str, ...]:
        """Return a sentence for each setting that is allowed but unwise or incomplete."""
        return (
            *self._closed_doors(),
            *self._unsealed(),
            *self._weak_secrets(),
            *self._llm_gaps(),
            *self._n8n_gaps(),
        )

    def summary(self) -> tuple[str, ...]:
        """Return `NAME=value` for every variable; for a secret, only `set` or `not set`."""
        return tuple(
            f"{field.alias}={_summarised(getattr(self, name))}"
            for name, field in type(self).model_fields.items()
        )

    def secrets(self) -> Iterator[tuple[str, SecretStr]]:
        """Yield every secret that is set, with the name by which a warning calls it."""
        for name, field in type(self).model_fields.items():
            match getattr(self, name):
                case SecretStr() as secret:
                    yield str(field.alias), secret
                case tuple() as several:
                    for secret in several:
                        if isinstance(secret, SecretStr):
                            yield str(field.alias), secret
                case dict() as named:
                    for key, secret in named.items():
                        yield f"{field.alias} ({key})", secret

    def _closed_doors(self) -> Iterator[str]:
        if not self.webhook_secrets:
            yield "EVOLUTION_WEBHOOK_SHARED_SECRET is not set: every webhook is refused"
        if self.cron_secret is None:
            yield "CRON_SECRET is not set: POST /cron/auto-resume and /cron/prune are closed"
        if not self.api_keys:
            yield (
                "API_KEYS is not set: the API under /api opens only to keys made with"
                " `python -m scripts.operators new-key` and to members who sign in at Supabase"
            )

    def _unsealed(self) -> Iterator[str]:
        if not self.secrets_key:
            yield (
                "SECRETS_KEY is not set: the tenants' keys of Evolution are stored as plain text."
                " Set it (openssl rand -hex 32 makes one), keep it safe, and run"
                " `python -m scripts.rotate_secrets` once"
            )

    def _weak_secrets(self) -> Iterator[str]:
        for name, secret in self.secrets():
            if name in _GIVEN_BY_OTHERS:
                if is_placeholder(secret):
                    yield f"{name} is an example's text: put the real key there"
            elif name != "DATABASE_URL" and (reason := weakness(secret)):
                yield f"{name} {reason}"
        key = self.supabase_service_role_key
        if key and not is_placeholder(key) and supabase_role(key) is None:
            yield (
                "SUPABASE_SERVICE_ROLE_KEY does not look like a service_role key"
                " (a JWT in base64, eyJ…, or sb_secret_…): check it if the database refuses it"
            )

    def _n8n_gaps(self) -> Iterator[str]:
        if self.n8n_enabled and self.n8n_flow_failures >= self.turn_max_attempts:
            yield (
                f"N8N_FLOW_FAILURES ({self.n8n_flow_failures}) is not below TURN_MAX_ATTEMPTS"
                f" ({self.turn_max_attempts}): a lone turn is dead before its flow is given up"
            )
        if self.n8n_enabled and self.n8n_public_api_key is None:
            yield (
                "N8N_PUBLIC_API_KEY is not set: when a contact is erased, what n8n saved of its"
                " executions stays until n8n prunes it. Make a key in n8n (Settings, n8n API)"
            )

    def _llm_gaps(self) -> Iterator[str]:
        keys = {"anthropic": self.anthropic_api_key, "openai": self.openai_api_key}
        if keys[self.llm_provider] is None:
            name = f"{self.llm_provider.upper()}_API_KEY"
            yield f"{name} is not set: messages are recorded, but {self.llm_provider} cannot answer"
        second = self.llm_fallback_provider
        if second == self.llm_provider:
            yield "LLM_FALLBACK_PROVIDER is LLM_PROVIDER itself, which is no help: choose the other"
        elif second and keys[second] is None:
            yield f"LLM_FALLBACK_PROVIDER is {second}, but {second.upper()}_API_KEY is not set"


def load_settings(
    env: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")
) -> Settings:
    """Return the settings from `env` (None: the process's own) and from `env_file`, if it exists.

    `env` wins; a blank value counts as not set. Raises ConfigurationError with all errors.
    """
    fields = {str(field.alias): field for field in Settings.model_fields.values()}
    given = os.environ if env is None else env
    arguments: dict[str, Any] = {
        name: given[name] for name in fields if given.get(name, "").strip()
    }
    arguments["_env_file"] = env_file
    try:
        return Settings(**arguments)
    except ValidationError as error:
        # If the variable is not set, the error has the name of its field.
        details = {str(detail["loc"][0]).upper(): detail for detail in error.errors()}
        faults = {name: fault_text(detail, fields[name]) for name, detail in details.items()}
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        faults = {str(env_file): f"cannot be read: {reason}."}
    # Raised outside of the `except`, so that no traceback shows its causes, which contain the
    # values.
    raise ConfigurationError(faults)


def _summarised(value: object) -> str:
    if value is None or value in ((), {}):
        return "not set"
    match value:
        case SecretStr():
            text = "set"
        case dict():
            text = f"set ({', '.join(value)})"
        case (SecretStr(), *_):
            text = f"set ({len(value)})"
        case tuple():
            text = ",".join(value)
        case bool():
            text = str(value).lower()
        case float():
            text = f"{value:g}"
        case _:
            text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}… ({len(text)} characters)"
