"""Checks whether the webhook that Evolution has for an instance can work. Pure."""

import hmac
from collections.abc import Iterator, Sequence
from urllib.parse import parse_qs, quote, urlsplit

from pydantic import SecretStr

from router.api.models import CheckStep
from router.evolution.client import WebhookSettings
from router.intake.own_secrets import secret_hash

_JWT = "a JWT (jwt_key)"
_NEEDED = ("MESSAGES_UPSERT", "CONNECTION_UPDATE")
_USEFUL = {
    "SEND_MESSAGE": "what another client of Evolution sends is not seen as a takeover",
    "MESSAGES_UPDATE": "nobody learns that WhatsApp did not deliver a reply",
    "MESSAGES_EDITED": "a message that the customer edits stays as it was",
    "MESSAGES_DELETE": "a message that the customer deletes is answered all the same",
    "QRCODE_UPDATED": "a new QR code is not kept for you",
}


def webhook_url(public_url: str, name: str) -> str:
    """Return the URL to which Evolution must send the events of the instance `name`."""
    return f"{public_url.rstrip('/')}/webhook/{quote(name, safe='')}"


def shown_url(url: str) -> str:
    """Return the URL without the parts that may be secret: its query, a user's password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def is_ours(url: str, name: str, public_url: str | None) -> bool:
    """Whether the URL, without its query, is the one with PUBLIC_URL."""
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.netloc}{parts.path}"
    return public_url is not None and address.rstrip("/") == webhook_url(public_url, name)


def judge_webhook(
    found: WebhookSettings | None,
    name: str,
    public_url: str | None,
    secrets: Sequence[SecretStr],
    hashes: Sequence[str] = (),
) -> list[CheckStep]:
    """Check the webhook with the secrets that are valid for the instance; its own are `hashes`.

    Return the steps `webhook`, `webhook_url`, `webhook_form`, `webhook_events`, `webhook_secret`.
    """
    cure = f"run `python -m scripts.tenant connect {name}`"
    if found is None or not found.url:
        return [_failed("webhook", "Evolution has no webhook for this instance", cure)]
    if not found.enabled:
        return [_failed("webhook", "the webhook is set but not enabled", cure)]
    if not _is_address(found.url):
        return [_failed("webhook", "the webhook's URL is not a http:// or https:// URL", cure)]
    return [
        CheckStep(step="webhook", ok=True, detail="set and enabled"),
        _judge_url(found.url, name, public_url, cure),
        _judge_form(found, cure),
        _judge_events(found.events, cure),
        _judge_secret(found, secrets, hashes, cure),
    ]


def webhook_warnings(found: WebhookSettings | None) -> Iterator[str]:
    """Yield for each missing event what is lost without it."""
    if found is not None and found.enabled:
        for event, loss in _USEFUL.items():
            if event not in found.events:
                yield f"the webhook does not bring {event}: {loss}"


def _judge_url(url: str, name: str, public_url: str | None, cure: str) -> CheckStep:
    parts = urlsplit(url)
    shown = shown_url(url)
    wanted = webhook_url(public_url, name) if public_url else None
    if wanted is not None and not is_ours(url, name, public_url):
        return _failed("webhook_url", f"it points to {shown}, not to {wanted}", cure)
    if not parts.path.rstrip("/").endswith(webhook_url("", name)):
        return _failed("webhook_url", f"{shown} does not end in /webhook/{name}", cure)
    unsure = "" if wanted else "; set PUBLIC_URL to have the URL compared, too"
    return CheckStep(step="webhook_url", ok=True, detail=f"points to {shown}{unsure}")


def _judge_form(found: WebhookSettings, cure: str) -> CheckStep:
    if found.by_events and set("?#") & set(found.url):
        detail = (
            "byEvents is on, and Evolution puts the event's name behind the whole URL, its query"
            " included: the secret (?token=) is spoilt, and every event refused and lost"
        )
        return _failed("webhook_form", detail, f"{cure}, which switches byEvents off")
    if found.base64:
        detail = (
            "base64 is on, so media comes inside of the webhook: what is larger than"
            " MAX_WEBHOOK_BYTES is refused again and again, and its message lost"
        )
        return _failed("webhook_form", detail, f"{cure}, which switches base64 off")
    form = "each event to a URL of its own" if found.by_events else "all events to one URL"
    return CheckStep(step="webhook_form", ok=True, detail=f"{form}, without the bytes of media")


def _judge_events(events: Sequence[str], cure: str) -> CheckStep:
    missing = [event for event in _NEEDED if event not in events]
    if missing:
        return _failed("webhook_events", f"not subscribed: {', '.join(missing)}", cure)
    return CheckStep(step="webhook_events", ok=True, detail=f"{len(events)} events subscribed")


def _judge_secret(
    found: WebhookSettings, secrets: Sequence[SecretStr], hashes: Sequence[str], cure: str
) -> CheckStep:
    if not secrets and not hashes:
        return _failed(
            "webhook_secret",
            "EVOLUTION_WEBHOOK_SHARED_SECRET is not set, so every webhook is refused",
            f"set it, then {cure}",
        )
    shown = dict(_secrets_shown(found))
    for form, value in shown.items():
        if any(_same(value, secret) for secret in secrets):
            return CheckStep(step="webhook_secret", ok=True, detail=f"the secret is sent as {form}")
        if secret_hash(value) not in hashes:
            continue
        if form == _JWT:
            detail = "a secret of the tenant's own cannot verify a JWT (jwt_key): only its hash"
            return _failed("webhook_secret", f"{detail} is known", cure)
        detail = f"the tenant's own secret is sent as {form}"
        return CheckStep(step="webhook_secret", ok=True, detail=detail)
    if shown:
        forms = " and ".join(shown)
        return _failed("webhook_secret", f"the secret sent as {forms} is not ours", cure)
    return _failed("webhook_secret", "the webhook carries no secret", cure)


def _secrets_shown(found: WebhookSettings) -> Iterator[tuple[str, str]]:
    """Yield each form in which the webhook sends a secret, and the secret."""
    headers = {key.lower(): value for key, value in found.headers.items()}
    if "x-webhook-secret" in headers:
        yield "X-Webhook-Secret", headers["x-webhook-secret"]
    if "authorization" in headers:
        yield "Authorization", headers["authorization"].removeprefix("Bearer ")
    if "jwt_key" in headers:
        yield _JWT, headers["jwt_key"]
    for token in parse_qs(urlsplit(found.url).query).get("token", ()):
        yield "?token=", token


def _same(shown: str, secret: SecretStr) -> bool:
    return hmac.compare_digest(shown.encode(), secret.get_secret_value().encode())


def _failed(step: str, detail: str, cure: str) -> CheckStep:
    return CheckStep(step=step, ok=False, detail=detail, cure=cure)
