"""The configuration: every variable, read and checked once, at start, all faults at once.

`.env.example` explains each variable. A field has the name of its variable in lower case.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from router.configuration import values
from router.configuration.advice import is_placeholder, supabase_role, weakness
from router.configuration.faults import fault_text

_LEASE_MARGIN = 5.0  # seconds of a lease beyond the LLM's time-out, for writing the reply down

_Lower = BeforeValidator(str.lower)
_Provider = Literal["anthropic", "openai"]
_Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
_SecondsOrNone = Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)]
_Port = Annotated[int, Field(ge=1, le=65535)]
_Url = Annotated[str, AfterValidator(values.read_url)]
_Secret = Annotated[SecretStr, AfterValidator(values.read_secret)]


class ConfigurationError(ValueError):
    """Some variables cannot be used. The text names each, its fault and the cure; no secret."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        lines = (f"  {name}: {fault}" for name, fault in faults.items())
        super().__init__("\n".join(("The configuration cannot be used:", *lines)))
        self.faults = dict(faults)


class Settings(BaseSettings):
    """All variables, checked. Made by `load_settings`; made directly, it reads no environment."""

    model_config = SettingsConfigDict(
        alias_generator=str.upper,
        case_sensitive=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=False,
    )

    # Where the state is kept
    supabase_url: Annotated[str, AfterValidator(values.read_supabase_url)] | None = None
    supabase_service_role_key: _Secret | None = Field(None, validate_default=True)
    database_url: Annotated[SecretStr, AfterValidator(values.read_database_url)] | None = None
    hybridflow_data: Annotated[Path, AfterValidator(Path.expanduser)] = Path(".hybridflow")

    # Who may call
    webhook_secrets: Annotated[
        tuple[SecretStr, ...], NoDecode, BeforeValidator(values.read_secrets)
    ] = Field((), alias="EVOLUTION_WEBHOOK_SHARED_SECRET")
    cron_secret: _Secret | None = None
    api_keys: Annotated[
        Mapping[str, SecretStr], NoDecode, BeforeValidator(values.read_api_keys)
    ] = Field(default_factory=dict)
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(values.read_origins)] = ()

    # The server
    port: _Port | None = None
    api_port: _Port = Field(8000, validate_default=True)
    public_url: _Url | None = None
    max_webhook_bytes: Annotated[int, Field(ge=1024, le=1_000_000_000)] = 20_000_000
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], _Lower] = "info"
    log_format: Annotated[Literal["json", "text"], _Lower] = "json"

    # Evolution API
    evolution_api_key: _Secret | None = None
    send_timeout: _Seconds = 30
    send_settle_seconds: _SecondsOrNone = 30
    typing_seconds: Annotated[float, Field(ge=0, le=25)] = Field(1, validate_default=True)

    # The LLM
    llm_provider: Annotated[_Provider, _Lower] = "anthropic"
    llm_fallback_provider: Annotated[_Provider | None, _Lower] = None
    anthropic_api_key: _Secret | None = None
    anthropic_base_url: _Url | None = None
    anthropic_model: str = "claude-haiku-5-5"
    openai_api_key: _Secret | None = None
    openai_base_url: _Url | None = None
    openai_model: str = "gpt-5.4-mini"
    llm_max_tokens: Annotated[int, Field(ge=1, le=200_000)] = 1024
    llm_timeout: _Seconds = 10
    llm_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    default_system_prompt: str = "You are a helpful WhatsApp assistant."
    prompt_token_budget: Annotated[int, Field(ge=100, le=1_000_000)] = 6000
    history_messages: Annotated[int, Field(ge=1, le=500)] = 40

    # Turns and pauses
    resume_after_hours: Annotated[float, Field(gt=0, le=8760, allow_inf_nan=False)] = 2
    answer_within_minutes: Annotated[float, Field(gt=0, le=10_080, allow_inf_nan=False)] = 60
    debounce_seconds: _SecondsOrNone = 2
    debounce_cap_seconds: _SecondsOrNone = Field(10, validate_default=True)
    max_concurrent_turns: Annotated[int, Field(ge=1, le=1000)] = 20
    turn_lease_seconds: _Seconds = Field(60, validate_default=True)
    turn_max_attempts: Annotated[int, Field(ge=1, le=100)] = 6
    retry_base_seconds: _Seconds = 2
    poll_seconds: _Seconds = 5

    # n8n
    n8n_enabled: bool = False
    n8n_webhook_url: _Url | None = Field(None, validate_default=True)
    n8n_api_key: _Secret | None = Field(None, validate_default=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave the process's environment to `load_settings`, which can be given another."""
        del settings_cls, env_settings, file_secret_settings
        return init_settings, dotenv_settings

    @model_validator(mode="before")
    @classmethod
    def _drop_blank(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {name: text.strip() for name, text in given.items() if text and text.strip()}

    # Checks across variables. Each stands with the later one; a variable with a fault of its own is
    # missing from info.data and gets no second complaint.

    @field_validator("supabase_service_role_key")
    @classmethod
    def _check_supabase(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "supabase_url" in info.data:
            url = info.data["supabase_url"]
            if url and not key:
                raise ValueError("is not set, but SUPABASE_URL is. " + _SERVICE_KEY_CURE)
            if key and not url:
                raise ValueError(
                    "is set, but SUPABASE_URL is not."
                    " Set it to the Project URL: https://xxx.supabase.co"
                )
        if key and supabase_role(key) == "anon":
            raise ValueError("is the public (anon) key, which may do nothing. " + _SERVICE_KEY_CURE)
        return key

    @field_validator("api_port")
    @classmethod
    def _prefer_port(cls, api_port: int, info: ValidationInfo) -> int:
        return info.data.get("port") or api_port

    @field_validator("typing_seconds")
    @classmethod
    def _check_typing(cls, seconds: float, info: ValidationInfo) -> float:
        # Evolution API answers a send only after it has shown the typing.
        limit = info.data.get("send_timeout", seconds + 1)
        if seconds >= limit:
            raise ValueError(
                f"{seconds:g} is not below SEND_TIMEOUT ({limit:g}): every send would time out."
                " Lower it, or raise SEND_TIMEOUT"
            )
        return seconds

    @field_validator("debounce_cap_seconds")
    @classmethod
    def _check_cap(cls, cap: float, info: ValidationInfo) -> float:
        debounce = info.data.get("debounce_seconds", cap)
        if cap < debounce:
            raise ValueError(
                f"{cap:g} is below DEBOUNCE_SECONDS ({debounce:g})."
                f" Raise it to {debounce:g} or more, or lower DEBOUNCE_SECONDS"
            )
        return cap

    @field_validator("turn_lease_seconds")
    @classmethod
    def _check_lease(cls, lease: float, info: ValidationInfo) -> float:
        least = info.data.get("llm_timeout", 0) + _LEASE_MARGIN
        if lease <= least:
            raise ValueError(
                f"{lease:g} is too short for LLM_TIMEOUT: turns would be made twice."
                f" Raise it above {least:g}, or lower LLM_TIMEOUT"
            )
        return lease

    @field_validator("n8n_webhook_url", "n8n_api_key")
    @classmethod
    def _check_n8n(cls, value: object, info: ValidationInfo) -> object:
        if info.data.get("n8n_enabled") and value is None:
            raise ValueError("is not set, but N8N_ENABLED is true. Set it, or N8N_ENABLED=false")
        return value

    def warnings(self) -> tuple[str, ...]:
        """Return what is allowed but unwise or incomplete, a sentence each; no secret."""
        return (*self._closed_doors(), *self._weak_secrets(), *self._llm_gaps())

    def summary(self) -> tuple[str, ...]:
        """Return `NAME=value` for every variable, with `set` or `not set` for a secret's value."""
        return tuple(
            f"{field.alias}={_summarised(getattr(self, name))}"
            for name, field in type(self).model_fields.items()
        )

    def secrets(self) -> Iterator[tuple[str, SecretStr]]:
        """Yield every secret that is set, with the name to complain about it by."""
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
            yield "CRON_SECRET is not set: POST /cron/auto-resume is closed"
        if not self.api_keys:
            yield "API_KEYS is not set: the API under /api is closed"

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
                "SUPABASE_SERVICE_ROLE_KEY has not the form of a service_role key"
                " (a JWT in base64, eyJ…, or sb_secret_…): check it if the database refuses it"
            )

    def _llm_gaps(self) -> Iterator[str]:
        keys = {"anthropic": self.anthropic_api_key, "openai": self.openai_api_key}
        if keys[self.llm_provider] is None:
            name = f"{self.llm_provider.upper()}_API_KEY"
            yield f"{name} is not set: messages are recorded, but {self.llm_provider} cannot answer"
        second = self.llm_fallback_provider
        if second == self.llm_provider:
            yield "LLM_FALLBACK_PROVIDER is LLM_PROVIDER itself, so it helps nobody: choose the other"
        elif second and keys[second] is None:
            yield f"LLM_FALLBACK_PROVIDER is {second}, but {second.upper()}_API_KEY is not set"
        least = self.llm_timeout * self.llm_attempts + _LEASE_MARGIN
        if self.turn_lease_seconds < least:
            yield (
                f"TURN_LEASE_SECONDS is too short for LLM_ATTEMPTS x LLM_TIMEOUT: the last attempts"
                f" are cut off; raise it to {least:g}"
            )


_SERVICE_KEY_CURE = "Copy the service_role key from the Supabase dashboard (Settings, API)"
_GIVEN_BY_OTHERS = frozenset({"SUPABASE_SERVICE_ROLE_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY"})


def load_settings(
    env: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")
) -> Settings:
    """Return the settings from `env` (the process's own if None) and `env_file` if it exists.

    `env` wins. A blank value counts as not set. Raises ConfigurationError with all faults.
    """
    fields = {str(field.alias): field for field in Settings.model_fields.values()}
    given = os.environ if env is None else env
    chosen: dict[str, Any] = {name: given[name] for name in fields if given.get(name, "").strip()}
    try:
        return Settings(_env_file=env_file, _env_file_encoding="utf-8", **chosen)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        texts = {str(fault["loc"][0]): fault for fault in faults}
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigurationError({str(env_file): f"cannot be read: {reason}."}) from None
    raise ConfigurationError({name: fault_text(texts[name], fields[name]) for name in texts})


def _summarised(value: object) -> str:
    match value:
        case None | () | {}:
            return "not set"
        case SecretStr():
            return "set"
        case dict():
            return f"set ({', '.join(value)})"
        case (SecretStr(), *_):
            return f"set ({len(value)})"
        case tuple():
            return ",".join(value)
        case float():
            return f"{value:g}"
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}… ({len(text)} characters)"
