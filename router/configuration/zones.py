"""Time zones by name; from the package tzdata if the machine has no time zone database."""

from zoneinfo import ZoneInfo


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of this name. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            "is not a time zone. Name one as the IANA does, such as America/Sao_Paulo"
        ) from None
