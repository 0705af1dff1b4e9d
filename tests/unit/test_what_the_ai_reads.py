"""docs/what-the-ai-reads.md tells of every kind of message, and of no other."""

import re
from pathlib import Path

from router.whatsapp import content

GUIDE = Path(__file__).parents[2] / "docs" / "what-the-ai-reads.md"
NAMED = set(re.findall(r"`([A-Za-z0-9]+)`", GUIDE.read_text()))


def test_every_kind_that_is_read_has_its_row() -> None:
    assert set() == content._KNOWN - NAMED


def test_so_has_all_that_says_nothing() -> None:
    assert set() == content._SILENT - NAMED


def test_no_other_message_is_named() -> None:
    told = {name for name in NAMED if name.endswith(("Message", "Messsage"))}
    assert told <= content._KNOWN | content._SILENT
