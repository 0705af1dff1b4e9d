"""Reads what happens to the instance: it connects, shows a QR code, is logged out, is removed."""

import hashlib
import json
from collections.abc import Mapping

from router.intake.readers.envelope import Envelope, Ignored
from router.whatsapp.clean import JsonObject, as_line, as_number, as_object, as_text
from router.whatsapp.jids import JidKind, kind_of, normalise_jid

_STATES = ("connecting", "open", "close", "refused")
_LARGEST_REASON = 2**31 - 1


def read_connection(envelope: Envelope, data: Mapping[str, object]) -> JsonObject | Ignored:
    """Return the event of `connection.update`; `reason` is Baileys' DisconnectReason."""
    state = as_line(data.get("state"))
    if state not in _STATES:
        return Ignored("connection state not used")
    reason = as_number(data.get("statusReason"))
    if reason is not None and abs(reason) > _LARGEST_REASON:
        reason = None
    wuid = data.get("wuid")
    owner = normalise_jid(wuid) if isinstance(wuid, str) else ""
    event = envelope.event_of(
        "connection", f"{envelope.event}:{state}:{reason}:{envelope.date_time}"
    )
    return event | {
        "state": state,
        "reason": reason,
        "owner_jid": owner if kind_of(owner) is JidKind.PHONE else None,
    }


def read_qrcode(envelope: Envelope, data: Mapping[str, object]) -> JsonObject:
    """Return the event of `qrcode.updated`: a code to scan, or why there is none."""
    qrcode = as_object(data.get("qrcode"))
    told: JsonObject = {
        "code": as_text(qrcode.get("code")) or None,
        "pairing_code": as_line(qrcode.get("pairingCode")) or None,
        "message": as_line(data.get("message")) or None,
    }
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    return envelope.event_of("qrcode", f"{envelope.event}:{digest}:{envelope.date_time}") | told


def read_logout(envelope: Envelope, _: Mapping[str, object]) -> JsonObject:
    """Return the event of `logout.instance`, whose data is null."""
    return envelope.event_of("logout", f"{envelope.event}:{envelope.date_time}")


def read_removal(envelope: Envelope, _: Mapping[str, object]) -> JsonObject:
    """Return the event of `remove.instance` and `instance.delete`; Evolution sends both."""
    return envelope.event_of("removed", f"{envelope.event}:{envelope.date_time}")
