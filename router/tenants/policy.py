"""The deployment's defaults for tenants' settings, in the form that SQL functions take."""

from collections.abc import Sequence

from router.configuration.declaring import Declared
from router.configuration.settings import Settings
from router.configuration.tenant_settings import SETTINGS
from router.state.database import Json

HEARD = ("ptt", "audio")
SEEN = ("image", "sticker", "document", "video")
"""The kinds of messages that are put into words or shown to the LLM."""


def policy(settings: Settings, declared: Sequence[Declared] = SETTINGS) -> Json:
    """Return the `policy` argument: the values for tenants without settings of their own."""
    rules = {each.name: _said(settings, each) for each in declared if each.deployment == "rule"}
    return {
        **rules,
        "debounce_cap_seconds": settings.debounce_cap_seconds,
        "senses": [
            *(HEARD if settings.hears else ()),
            *(SEEN if settings.look_at_media else ()),
        ],
        **({"keeps_files": True} if settings.keeps_files else {}),
    }


def ceilings(settings: Settings, declared: Sequence[Declared] = SETTINGS) -> Json:
    """Return the `ceilings` argument: each tenant's maximum of what costs the deployment money."""
    most = {each.name: _said(settings, each) for each in declared if each.deployment == "most"}
    models = sorted(settings.allowed_models)
    return {**budgets(settings, declared), **most, "llm_models": models}


def budgets(settings: Settings, declared: Sequence[Declared] = SETTINGS) -> dict[str, int]:
    """Return the budgets that no tenant can exceed; unlimited ones are left out."""
    said = {each.name: _said(settings, each) for each in declared if each.deployment == "budget"}
    return {name: int(most) for name, most in said.items() if most is not None}


def _said(settings: Settings, declared: Declared) -> float | None:
    """Return the value of the setting's variable."""
    said: float | None = getattr(settings, declared.variable)
    return said
