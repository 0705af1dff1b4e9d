"""What PostgREST's error codes mean, each with the fix. Pure."""

from router.errors import DatabaseAway, Invalid
from router.state.failures import APPLY_SCHEMA, fault, meaning, missing

KEY_CURE = (
    "set SUPABASE_SERVICE_ROLE_KEY to this project's secret key (sb_secret_…) or service_role key"
    " (Dashboard, Settings, API Keys)"
)
_NO_FUNCTION = "PGRST202"
_NO_SCHEMA_CACHE = "PGRST002"
_NO_DATABASE = ("PGRST000", "PGRST001", _NO_SCHEMA_CACHE, "PGRST003")
_BAD_KEY = ("PGRST300", "PGRST301", "PGRST302", "PGRST303")
_NOT_EXPOSED = "PGRST106"
_OVERLOADED = "PGRST203"
_UNREADABLE = "PGRST102"
_FORBIDDEN = "42501"


def is_schema_cache_behind(code: str | None) -> bool:
    """Whether PostgREST may not have loaded a new schema yet, such as after a migration."""
    return code in (_NO_FUNCTION, _NO_SCHEMA_CACHE)


def what_postgrest_says(code: str, message: str, function: str) -> Exception:
    """Return the error that a code means for the caller of `function`.

    `message` is PostgREST's, or PostgreSQL's: see `router.state.failures`.
    """
    if code in _BAD_KEY:
        return DatabaseAway(f"Supabase refuses the key: {KEY_CURE}")
    if code == _FORBIDDEN:
        return DatabaseAway(
            f"{function}: the key's role has no right to it: {KEY_CURE};"
            f" if it is that key, {APPLY_SCHEMA}"
        )
    if code == _NOT_EXPOSED:
        return DatabaseAway(
            "Supabase does not offer the schema public: add it to the exposed schemas"
            " (Dashboard, Settings, Data API)"
        )
    if code in _NO_DATABASE:
        return DatabaseAway(
            f"{function}: Supabase cannot reach its database: the project is starting,"
            " paused or overloaded, see its dashboard"
        )
    if code in (_NO_FUNCTION, _OVERLOADED):
        return missing(function)
    if code == _UNREADABLE:
        return Invalid("the request could not be read as JSON")
    return meaning(code, message, function) or fault(code, message, function)
