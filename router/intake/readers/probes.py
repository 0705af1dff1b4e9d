"""The probe of `test-webhook`: an event of our own, which is recorded and changes nothing else."""

from collections.abc import Mapping

from router.intake.readers.envelope import Envelope, Ignored
from router.whatsapp.clean import JsonObject

PROBE_EVENT = "hybridflow.test"
_LONGEST_MARK = 64


def probe_body(instance: str, mark: str) -> JsonObject:
    """Return the body of the probe `mark`."""
    return {"event": PROBE_EVENT, "instance": instance, "data": {"probe": mark}}


def read_probe(envelope: Envelope, data: Mapping[str, object]) -> JsonObject | Ignored:
    """Return the event of the probe; a probe without a mark is only answered."""
    mark = data.get("probe")
    if not (isinstance(mark, str) and mark.isalnum() and mark.isascii()):
        return Ignored("a test without a mark")
    return envelope.event_of("probe", f"probe:{mark[:_LONGEST_MARK]}")
