"""The one word back to the staff: each outcome has one, and the guides show it as it is."""

from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from router.configuration.zones import zone_of
from router.relays.wording import word_back
from router.state.calls.relays import RelayFacts, RelayOutcome
from router.whatsapp.languages import Language
from tests.for_each import for_each

DOCS = Path(__file__).parents[2] / "docs"
ZONE = zone_of("America/Sao_Paulo")
MARIA = RelayFacts(
    name="Maria",
    jid="5511955550001@s.whatsapp.net",
    was_ai=False,
    until=datetime(2026, 11, 27, 12, 0, tzinfo=UTC),
)
IN_THE_GUIDES = (
    *("sent", "taken", "resumed", "until", "in_doubt", "no_media", "erased", "too_many"),
    *("no_session", "unsupported", "unquoted", "switched_off"),
)


PAGES: dict[str, Language] = {"owners.md": "en", "owners.pt-BR.md": "pt"}


@for_each("language", get_args(Language))
@for_each("outcome", get_args(RelayOutcome))
def test_every_outcome_has_a_word(outcome: RelayOutcome, language: Language):
    for facts in (MARIA, RelayFacts()):
        word = word_back(outcome, facts, ZONE, language=language)
        assert word[0].isupper()
        assert word.endswith(".")
        assert "None" not in word


@for_each("page", PAGES)
@for_each("outcome", IN_THE_GUIDES)
def test_the_guides_show_it_as_it_is(page: str, outcome: RelayOutcome):
    word = word_back(outcome, MARIA, ZONE, language=PAGES[page])
    assert f"{word} |" in (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("outcome", ["no_notice", "too_old", "answered"])
def test_the_guides_show_how_a_long_one_begins(page: str, outcome: RelayOutcome):
    first, second, *_ = word_back(outcome, MARIA, ZONE, language=PAGES[page]).split(". ")
    assert f"{first}. {second}. …" in (DOCS / page).read_text(encoding="utf-8")


def test_of_a_conversation_that_the_ai_had_again_it_is_told():
    again = MARIA.model_copy(update={"was_ai": True})
    assert word_back("sent", again, ZONE) == (
        "Sent to Maria (5511955550001). The AI had started to answer again; now it is quiet there."
    )
    assert "had started to answer again" in word_back("taken", again, ZONE)
    assert word_back("resumed", again, ZONE) == "The AI already answers Maria (5511955550001)."


def test_why_it_failed_is_said_in_one_line():
    word = word_back("failed", MARIA, ZONE, "Evolution:\n  it is\tclosed. " + "x" * 900)
    assert "\n" not in word
    assert len(word) < 350
    assert "it is closed" in word


def test_who_hides_their_number_is_called_by_name_alone():
    hidden = RelayFacts(name="Maria", jid="201955550001001@lid")
    assert word_back("sent", hidden, ZONE) == "Sent to Maria."
