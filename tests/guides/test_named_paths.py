"""Whatever file, folder or function a guide names is there."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.guides.commands import ROOT, guides

_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_PATH = re.compile(r"\.?[\w-][\w.-]*(?:/[\w.*-]+)*/?")
_FILE = re.compile(r".+\.(?:py|sql|md|json|toml|yml|sh|txt|ts|conf|sha256|example)")
_FOLDERS = ("router", "scripts", "loopback", "benchmarks", "database", "docker", "tests", "docs")

_BY_A_COMMAND = "a command makes it"
_ANOTHERS = "another program's path"
ELSEWHERE = {
    "htmlcov/index.html": _BY_A_COMMAND,
    ".hybridflow/secrets.env": _BY_A_COMMAND,
    ".hybridflow/n8n": _BY_A_COMMAND,
    "database.types.ts": _BY_A_COMMAND,
    "supabase/released.sha256": "the first release makes it",
    "released.sha256": "the first release makes it",
    "SUPABASE_URL/auth/v1": _ANOTHERS,
    "agent/hybridflow-turn": _ANOTHERS,
    "branch/hybridflow-turn": _ANOTHERS,
    "gateway/hybridflow-turn": _ANOTHERS,
    "media/hybridflow-turn": _ANOTHERS,
    "my-shop/hybridflow-turn": _ANOTHERS,
    "tools/hybridflow-turn": _ANOTHERS,
    "chat/getBase64FromMediaMessage": _ANOTHERS,
    "chat/sendPresence": _ANOTHERS,
    "message/sendText": _ANOTHERS,
}
# What was, and is no more, is named in the changelog rightly.
GUIDES = [guide for guide in guides() if guide.name != "CHANGELOG.md"]


def id_of(guide: Path) -> str:
    return guide.relative_to(ROOT).as_posix()


def prose_of(guide: Path) -> str:
    return _FENCE.sub("", guide.read_text(encoding="utf-8"))


def named_in(guide: Path) -> set[str]:
    """What looks like a path: it has a slash, or ends as files do."""
    spans = (span for span in _SPAN.findall(prose_of(guide)) if _PATH.fullmatch(span))
    return {span for span in spans if "/" in span or _FILE.fullmatch(span)}


@cache
def names_of_files() -> frozenset[str]:
    found = (file for folder in _FOLDERS for file in (ROOT / folder).rglob("*"))
    return frozenset(file.name for file in found if "__pycache__" not in file.parts)


def is_there(guide: Path, name: str) -> bool:
    """From the root, from the guide's folder, or from router/; a lone file's name, anywhere."""
    if "/" not in name and name in names_of_files():
        return True
    places = (ROOT, guide.parent, ROOT / "router", ROOT / "router" / "intake")
    if "*" in name:
        return any(True for place in places for _ in place.glob(name))
    return any((place / name).exists() for place in places)


@pytest.mark.parametrize("guide", GUIDES, ids=id_of)
def test_every_path_that_a_guide_names_is_there(guide: Path):
    gone = [
        name
        for name in sorted(named_in(guide))
        if name not in ELSEWHERE and not is_there(guide, name)
    ]
    assert gone == []


@pytest.mark.parametrize("guide", guides(), ids=id_of)
def test_every_link_to_a_file_leads_to_it_and_to_its_heading(guide: Path):
    dead = []
    for link in _LINK.findall(prose_of(guide)):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (guide.parent / name) if name else guide
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            dead.append(link)
    assert dead == []


def anchors_of(guide: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = _HEADING.findall(prose_of(guide))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_what_is_elsewhere_is_named_somewhere():
    named = {name for guide in GUIDES for name in named_in(guide)}
    assert set(ELSEWHERE) - named == set()


def rows_of(guide: Path) -> list[str]:
    lines = guide.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("| ")]


def test_a_row_that_names_a_function_names_the_file_that_has_it():
    """A newcomer's questions are answered in one look, at the right place."""
    looked_at = 0
    for row in rows_of(ROOT / "CONTRIBUTING.md"):
        spans = _SPAN.findall(row)
        files = [ROOT / span for span in spans if (ROOT / span).is_file()]
        for name in spans:
            if files and re.fullmatch(r"[a-z]+(?:_[a-z]+)+", name):
                looked_at += 1
                assert any(name in file.read_text(encoding="utf-8") for file in files), row
    assert looked_at > 4


QUESTIONS = (
    "customer's message judged",
    "send allowed",
    "operator pauses",
    "a tenant's setting",
    "a type of message",
    "a REST endpoint",
    "a notice",
)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_newcomers_question_has_its_row_with_a_file(question: str):
    (row,) = [row for row in rows_of(ROOT / "CONTRIBUTING.md") if question in row.split("|")[1]]
    assert [span for span in _SPAN.findall(row) if (ROOT / span).is_file()]
