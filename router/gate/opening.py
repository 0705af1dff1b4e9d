"""Derives from the configuration how much memory and how many places calls may take."""

from dataclasses import replace

from router.configuration.settings import Settings
from router.gate.admission import SHORT_FLOW, CallLimits, Memory
from router.gate.sign_ins import Cookies, SignIns
from router.http.bodies import Bodies, BodyLimits
from router.http.callers import Callers

_BODIES = 5  # bodies of the largest size in memory at once; for webhooks and flows each
_MEDIA = 8  # media that are sent at once
_CALLS = 50  # bodies of calls, which are small
_SHORT = 500  # short bodies of flows
_LEAST_HELD = 50_000_000  # bytes for webhooks; half must hold one with many values, once parsed


def sign_ins(settings: Settings) -> SignIns:
    """Return the service for browsers' sign-ins; it is the same in all routers of a deployment."""
    return SignIns(settings.secrets_key)


def cookies(settings: Settings) -> Cookies:
    """Return how browsers keep a sign-in."""
    return Cookies(are_https=(settings.public_url or "").startswith("https://"))


def call_limits(settings: Settings) -> CallLimits:
    """Return the limits of each caller, and of all together."""
    return CallLimits(
        calls_per_minute=settings.api_calls_per_minute,
        address_calls_per_minute=settings.address_calls_per_minute,
        flow_calls_per_minute=settings.flow_calls_per_minute,
        at_once=settings.max_concurrent_requests,
        max_bytes=settings.max_request_bytes,
        flow_bytes=settings.max_webhook_bytes,
        media_bytes=settings.max_request_bytes + _in_base64(settings.max_media_bytes),
        max_depth=settings.max_json_depth,
    )


def memory_of_calls(settings: Settings, callers: Callers) -> Memory:
    """Return the memory for the bodies of calls."""
    return Memory(
        calls=Bodies(_body_limits(settings, settings.max_request_bytes, _CALLS), callers),
        flows=Bodies(_body_limits(settings, settings.max_webhook_bytes), callers),
        short=Bodies(_body_limits(settings, SHORT_FLOW, _SHORT), callers),
        messages=Bodies(
            _body_limits(
                settings, settings.max_request_bytes + _in_base64(settings.max_media_bytes)
            ),
            callers,
        ),
    )


def _in_base64(number: int) -> int:
    """Return how many characters so many bytes take in base64, including line breaks."""
    return number * 3 // 2


def _body_limits(settings: Settings, largest: int, count: int = _BODIES) -> BodyLimits:
    return BodyLimits(
        arriving=max(1, settings.max_concurrent_requests // 2), held_bytes=count * largest
    )


def webhook_limits(settings: Settings) -> BodyLimits:
    """Return the memory limits of webhooks' bodies."""
    limits = _body_limits(settings, settings.max_webhook_bytes)
    return replace(limits, held_bytes=max(limits.held_bytes, _LEAST_HELD))


def media_limits(settings: Settings) -> BodyLimits:
    """Return the memory limits of media.

    One tenant may use half, which is enough for one of the largest media (twice, in base64).
    """
    return _body_limits(settings, settings.max_media_bytes, _MEDIA)
