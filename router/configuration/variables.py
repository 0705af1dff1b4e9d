"""Every variable: its type, its range, its default, and the checks that involve several variables.

`.env.example` explains them. A field has the name of its variable in lower case, with one
exception: `webhook_secrets` is EVOLUTION_WEBHOOK_SHARED_SECRET.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
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
from router.configuration.advice import supabase_role

LONGEST_RETRY_AFTER = 10.0
"""The longest Retry-After, in seconds, that an attempt at a turn obeys."""

_SERVICE_KEY_CURE = (
    "Copy a secret key (sb_secret_…) or the service_role key from the Supabase dashboard"
    " (Settings, API Keys)"
)

_Lower = BeforeValidator(str.lower)
_Provider = Literal["anthropic", "openai"]
_Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0, le=10**15)]
_SecondsOrNone = Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)]
_Url = Annotated[str, AfterValidator(values.read_url)]
_SupabaseUrl = Annotated[str, AfterValidator(values.read_supabase_url)]
_DatabaseUrl = Annotated[SecretStr, AfterValidator(values.read_database_url)]
_Secret = Annotated[SecretStr, AfterValidator(values.read_secret)]
_Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(values.read_secrets)]
_SealingKeys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(values.read_sealing_keys)]
_ApiKeys = Annotated[Mapping[str, SecretStr], NoDecode, BeforeValidator(values.read_api_keys)]
_Targets = Annotated[
    tuple[str, ...] | None, NoDecode, BeforeValidator(values.read_allowed_networks)
]
_Servers = Annotated[tuple[str, ...], NoDecode, BeforeValidator(values.read_servers)]
_Networks = Annotated[tuple[str, ...], NoDecode, BeforeValidator(values.read_networks)]
_Bucket = Annotated[str, AfterValidator(values.read_bucket)]
_Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(values.read_names)]
_Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(values.read_origins)]


class Variables(BaseSettings):
    """The checked variables. The class itself reads no environment: see `load_settings`."""

    model_config = SettingsConfigDict(
        alias_generator=str.upper,
        case_sensitive=True,
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=False,
    )

    # The database
    supabase_url: _SupabaseUrl | None = None
    supabase_service_role_key: _Secret | None = Field(None, validate_default=True)
    database_url: _DatabaseUrl | None = None
    hybridflow_data: Annotated[Path, BeforeValidator(values.read_folder)] = Path(".hybridflow")
    demo: bool = True

    secrets_key: _SealingKeys = ()

    # Who may call
    webhook_secrets: _Secrets = Field((), alias="EVOLUTION_WEBHOOK_SHARED_SECRET")
    cron_secret: _Secret | None = None
    api_keys: _ApiKeys = Field(default_factory=dict)
    supabase_jwt_secret: _Secret | None = None
    supabase_jwt_issuer: str | None = None
    cors_origins: _Origins = ()
    webhook_networks: _Networks = ()
    trusted_proxies: _Networks = ()

    # Where tenants' URLs may lead
    allowed_networks: _Targets = None

    # The server
    port: Annotated[int | None, Field(ge=1, le=65535)] = None
    api_port: Annotated[int, Field(ge=1, le=65535)] = Field(8000, validate_default=True)
    public_url: _Url | None = None
    api_docs: bool | None = None
    max_webhook_bytes: Annotated[int, Field(ge=1024, le=1_000_000_000)] = 20_000_000
    max_media_bytes: Annotated[int, Field(ge=1024, le=200_000_000)] = 16_000_000
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], _Lower] = "info"
    log_format: Annotated[Literal["json", "text"], _Lower] = "json"

    # Evolution API
    evolution_api_key: _Secret | None = None
    evolution_servers: _Servers = ()
    send_timeout: _Seconds = 30
    send_settle_seconds: _SecondsOrNone = 90
    typing_seconds: Annotated[float, Field(ge=0, le=25)] = Field(1, validate_default=True)

    typing_speed: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = 40
    typing_most_seconds: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 8

    # The LLM
    llm_provider: Annotated[_Provider, _Lower] = "anthropic"
    llm_fallback_provider: Annotated[_Provider | None, _Lower] = None
    anthropic_api_key: _Secret | None = None
    anthropic_base_url: _Url | None = None
    anthropic_model: str = "claude-haiku-5-5"
    openai_api_key: _Secret | None = None
    openai_base_url: _Url | None = None
    openai_model: str = "gpt-5.4-mini"
    llm_models: _Names = ()
    llm_max_tokens: Annotated[int, Field(ge=1, le=200_000)] = 1024
    llm_timeout: _Seconds = 10
    llm_attempts: Annotated[int, Field(ge=1, le=10)] = 3

    default_system_prompt: str = "You are a helpful WhatsApp assistant."
    default_timezone: Annotated[str, BeforeValidator(values.read_zone)] = "UTC"
    prompt_token_budget: Annotated[int, Field(ge=100, le=1_000_000)] = 6000
    history_messages: Annotated[int, Field(ge=1, le=500)] = 40

    # What a contact sends
    look_at_media: bool = True
    stt_base_url: _Url | None = None
    stt_api_key: _Secret | None = None
    stt_model: str = "gpt-4o-mini-transcribe"
    stt_timeout: Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)] = 20
    stt_local_model: str | None = None
    media_wait_seconds: Annotated[float, Field(ge=0, le=120)] = 20

    # Where what contacts send is kept
    media_folder: Annotated[Path, BeforeValidator(values.read_folder)] | None = None
    media_bucket: _Bucket | None = Field(None, validate_default=True)
    media_bytes_per_tenant: Annotated[int, Field(ge=1_000_000, le=10**15)] = 5_000_000_000

    # The voice that reads replies aloud
    tts_base_url: _Url | None = None
    tts_api_key: _Secret | None = None
    tts_model: str = "gpt-4o-mini-tts"
    tts_voice: str = "alloy"
    tts_timeout: Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)] = 20

    # How long data is kept
    events_retention_days: Annotated[int, Field(ge=7, le=3650)] = 7
    retention_days: Annotated[int, Field(ge=1, le=36_500)] | None = None

    # Turns and pauses
    resume_after_hours: Annotated[float, Field(gt=0, le=8760, allow_inf_nan=False)] = 2
    answer_within_minutes: Annotated[float, Field(gt=0, le=10_080, allow_inf_nan=False)] = 60
    debounce_seconds: _SecondsOrNone = 2
    debounce_cap_seconds: _SecondsOrNone = Field(10, validate_default=True)
    max_concurrent_turns: Annotated[int, Field(ge=1, le=1000)] = 20
    turn_lease_seconds: Annotated[float, Field(ge=3, le=3600, allow_inf_nan=False)] = 10
    turn_max_attempts: Annotated[int, Field(ge=1, le=100)] = 10
    retry_base_seconds: _Seconds = 2
    poll_seconds: _Seconds = 5

    # What a reply may say
    max_reply_characters: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    leak_characters: Annotated[int, Field(ge=0, le=100_000)] = 1000
    moderation_url: _Url | None = None
    moderation_api_key: _Secret | None = None
    moderation_timeout: Annotated[float, Field(gt=0, le=30, allow_inf_nan=False)] = 3
    moderation_fail: Annotated[Literal["closed", "open"], _Lower] = "closed"
    loop_replies: Annotated[int, Field(ge=0, le=1000)] = 6
    loop_minutes: Annotated[float, Field(gt=0, le=1440, allow_inf_nan=False)] = 10

    # Limits
    daily_turns: _Count | None = None
    daily_tokens: _Count | None = None
    contact_daily_turns: _Count | None = None
    contact_daily_tokens: _Count | None = None
    tenant_share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.75
    api_calls_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    address_calls_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 3000
    flow_calls_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 6000
    tenant_webhooks_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 6000
    contact_messages_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 60
    max_connections: Annotated[int, Field(ge=10, le=100_000)] = 2000
    max_connections_per_address: Annotated[int, Field(ge=5, le=100_000)] = 500
    max_concurrent_requests: Annotated[int, Field(ge=1, le=100_000)] = 200
    max_waiting_webhooks: Annotated[int, Field(ge=1, le=100_000)] = 500
    max_request_bytes: Annotated[int, Field(ge=1024, le=1_000_000_000)] = 1_000_000
    max_json_depth: Annotated[int, Field(ge=8, le=500)] = 64

    # n8n
    n8n_enabled: bool = False
    n8n_webhook_url: _Url | None = Field(None, validate_default=True)
    n8n_api_key: _Secret | None = Field(None, validate_default=True)
    n8n_fallback: Annotated[Literal["python", "queue"], _Lower] = "python"
    n8n_max_in_flight: Annotated[int, Field(ge=1, le=1000)] = 30
    n8n_contract: Annotated[Literal["answer", "gateway"], _Lower] = "answer"
    n8n_answer_seconds: Annotated[float, Field(ge=1, le=95)] = 90
    n8n_lease_seconds: _Seconds = 90
    n8n_probe_seconds: _Seconds = 15
    n8n_flow_failures: Annotated[int, Field(ge=1, le=1000)] = 5
    n8n_router_url: _Url | None = None
    n8n_editor_url: _Url | None = None
    n8n_public_api_key: _Secret | None = None
    n8n_public_api_url: _Url | None = None
    n8n_port: Annotated[int, Field(ge=1, le=65535)] = 5678

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Do not read the process's environment: `load_settings` does, or reads another one."""
        del settings_cls, env_settings, file_secret_settings
        return init_settings, dotenv_settings

    @model_validator(mode="before")
    @classmethod
    def _drop_blank(cls, given: dict[str, Any]) -> dict[str, Any]:
        texts = {name: str(text or "").strip() for name, text in given.items()}
        return {name: text for name, text in texts.items() if text}

    # Checks that involve several variables. Each is a validator of the last of them. A variable
    # with an error of its own is missing from info.data, so it is not reported twice.

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

    @field_validator("media_bucket")
    @classmethod
    def _check_bucket(cls, bucket: str | None, info: ValidationInfo) -> str | None:
        if bucket and info.data.get("media_folder"):
            raise ValueError(
                "is set, and so is MEDIA_FOLDER. Files are kept in one place: unset one of them"
            )
        if bucket and not info.data.get("supabase_url"):
            raise ValueError(
                "is set, but SUPABASE_URL is not: the bucket is one of that project."
                " Set it with its key, or use MEDIA_FOLDER"
            )
        return bucket

    @field_validator("api_port")
    @classmethod
    def _prefer_port(cls, api_port: int, info: ValidationInfo) -> int:
        return info.data.get("port") or api_port

    @field_validator("typing_seconds")
    @classmethod
    def _check_typing(cls, seconds: float, info: ValidationInfo) -> float:
        # Evolution API answers a send only after it has shown "typing" for this long.
        limit = info.data.get("send_timeout", seconds + 1)
        if seconds >= limit:
            raise ValueError(
                f"{seconds:g} is not below SEND_TIMEOUT ({limit:g}): every send would time out."
                " Lower it, or raise SEND_TIMEOUT"
            )
        return seconds

    @field_validator("debounce_seconds")
    @classmethod
    def _check_debounce(cls, debounce: float, info: ValidationInfo) -> float:
        minutes = info.data.get("answer_within_minutes")
        if minutes is not None and debounce >= 60 * minutes:
            raise ValueError(
                f"{debounce:g} is not below ANSWER_WITHIN_MINUTES ({minutes:g}): every message"
                " would be too old when its turn comes. Lower it, or raise ANSWER_WITHIN_MINUTES"
            )
        return debounce

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

    @field_validator("n8n_webhook_url", "n8n_api_key")
    @classmethod
    def _check_n8n(cls, value: object, info: ValidationInfo) -> object:
        if info.data.get("n8n_enabled") and value is None:
            raise ValueError("is not set, but N8N_ENABLED is true. Set it, or N8N_ENABLED=false")
        return value
