"""The API's models of a tenant's settings, generated from their declarations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import BaseModel, Field, SecretStr, create_model, field_validator

from router.configuration.declaring import Declared
from router.configuration.tenant_settings import SETTINGS
from router.safety.patterns import check_patterns


class Values(BaseModel, extra="forbid", allow_inf_nan=False, strict=True):
    """Settings of a tenant: omitted values stay unchanged, null restores the default."""

    @field_validator("forbidden_patterns", check_fields=False)
    @classmethod
    def _check(cls, patterns: list[str] | None) -> list[str] | None:
        return patterns and check_patterns(patterns)

    def given(self) -> dict[str, Any]:
        """Return the given values, ready for the state."""
        values = self.model_dump(exclude_unset=True)
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in values.items()
        }


def values_of(settings: Sequence[Declared]) -> type[Values]:
    """Return the model of a request that sets any of the settings."""
    return _made("TenantValues", Values, {each.name: _field(each) for each in settings})


def new_of(settings: Sequence[Declared]) -> type[Values]:
    """Return the model of a request for a new tenant: required settings are required."""
    needed = {each.name: _field(each, needed=True) for each in settings if each.required}
    made = _made("NewTenant", values_of(settings), needed)
    made.__doc__ = "A tenant to be created."
    return made


def _made(name: str, base: type[Values], fields: dict[str, Any]) -> type[Values]:
    return create_model(name, __base__=base, __module__=__name__, __doc__=base.__doc__, **fields)


def _field(setting: Declared, *, needed: bool = False) -> tuple[Any, Any]:
    examples = None if setting.example is None else [setting.example]
    about = setting.about
    if setting.form == "text" and setting.longest:
        about += f"; at most {setting.longest:,} characters"
    if needed:
        return setting.kind, Field(description=about, examples=examples)
    return setting.asked, Field(default=None, description=about, examples=examples)


if TYPE_CHECKING:
    TenantValues: TypeAlias = Values
    NewTenant: TypeAlias = Values
else:
    TenantValues = values_of(SETTINGS)
    NewTenant = new_of(SETTINGS)
