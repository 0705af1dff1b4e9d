"""What the people of a business are told has the same words and places in each language."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from router.notices.outage_words import FRAME, OF_OWN_KEY, WHY
from router.notices.untaken import NOBODY_YET
from router.notices.wording import say
from router.notices.words import NOTICE_WORDS, Words
from router.relays.words import WORDS_BACK
from router.replies.handoffs import HANDOFF_MESSAGE
from router.state.calls.notices import ClaimedNotice
from router.whatsapp.languages import Language

DOCS = Path(__file__).parents[2] / "docs"
TABLES = {
    "notices": NOTICE_WORDS,
    "why": WHY,
    "of_own_key": OF_OWN_KEY,
    "frame": FRAME,
    "words_back": WORDS_BACK,
}
PAGES: Mapping[str, Language] = {"owners.md": "en", "owners.pt-BR.md": "pt"}
AT = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
NOTICE = {
    "notice_id": 7, "token": "11111111-1111-4111-8111-111111111111", "attempt": 1,
    "kind": "handoff", "tenant_id": 1, "instance_name": "padaria", "session_id": 2,
    "facts": {}, "created_at": AT, "number": "5511955550001", "url": None, "told": False,
}  # fmt: skip
MARIA = {"jid": "5511955550001@s.whatsapp.net", "contact_name": "Maria", "reason": "upset"}


def notice(language: str, kind: str, **facts: object) -> str:
    given = NOTICE | {"language": language, "kind": kind, "facts": facts}
    return say(ClaimedNotice.model_validate(given))


def places(words: Words) -> dict[str, list[str]]:
    return {name: sorted(set(re.findall(r"{(\w*)}", text))) for name, text in words.items()}


@pytest.mark.parametrize("name", TABLES)
def test_each_language_has_the_same_words_with_the_same_places(name: str):
    table = TABLES[name]
    assert table.keys() == set(get_args(Language))
    for words in table.values():
        assert places(words) == places(table["en"])
        assert all(text.strip() for text in words.values())


def test_only_what_is_the_same_by_chance_is_left_in_english():
    same = {
        text
        for table in TABLES.values()
        for language in ("pt", "es")
        for name, text in table[language].items()
        if text == table["en"][name]
    }
    assert same == {"{minutes} min", "{hours} h {minutes} min"}


@pytest.mark.parametrize("page", PAGES)
def test_the_guides_show_the_notices_as_they_are(page: str):
    shown = " ".join((DOCS / page).read_text(encoding="utf-8").replace("\n>", "\n").split())
    language = PAGES[page]
    outage = {"cause": "account_empty", "began_at": AT, "has_own_key": True, "turns": 3}
    outage |= {"unanswered": 2, "provider": "anthropic"}
    over = outage | {"ended_at": datetime(2026, 11, 27, 12, 38, tzinfo=UTC)}
    for text in (
        notice(language, "handoff", **MARIA),
        notice(language, "handoff", **MARIA, waited_minutes=15),
        notice(language, "handoff", **MARIA, words="not_said").rpartition("\n\n")[2],
        notice(language, "unanswered", outages=[outage]),
        notice(language, "answered_again", outages=[over]),
        HANDOFF_MESSAGE[language],
        NOBODY_YET[language],
    ):
        assert " ".join(text.split()) in shown


def test_what_the_state_says_of_a_handoff_is_in_the_language_and_what_is_technical_stays():
    refused = MARIA | {"reason": "the AI's reply was not sent: leak: 40 characters"}
    assert notice("pt", "handoff", **refused) == (
        "Maria (5511955550001) precisa falar com uma pessoa: a resposta da IA não foi enviada:"
        " leak: 40 characters"
    )
    asked = MARIA | {"reason": "quer o dinheiro de volta"}
    assert notice("es", "handoff", **asked).endswith(": quer o dinheiro de volta")


def test_a_language_that_a_newer_schema_has_is_told_in_english():
    assert notice("fr", "handoff", **MARIA) == notice("en", "handoff", **MARIA)
