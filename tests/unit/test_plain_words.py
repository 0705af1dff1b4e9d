"""Texts are plain English: phrases that readers stumbled over do not come back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A phrase that is hard to read, and what to write instead.
PHRASES = {
    r"how-manieth": "attempt number (1 = first)",
    r"has not the form": "does not look like",
    r"has not (?:this|the) program's": "is missing or older than this version",
    r"does not do (?:for|with|here)": "is too low; is not enough",
    r"nobody (?:\w+ )?(?:it )?but whoever": "only X",
    r"what is yours": "name the thing",
    r"kept at hand": "a cache of …, refreshed every …",
    r"at once about a decision": "side effects after a commit",
    r"in the making": "generated concurrently; being generated",
    r"the same of an? ": "name the thing; see X",
    r"\bshall\b": "must, will",
    r"hitherto|whereof|thereof|whereby|heretofore|thereupon": "a common word",
    r"\bto be had\b|\bmay be had\b": "is available",
    r"nobody but": "only",
    r"\bbears?\b(?! with me)": "can take; tolerates; is safe to repeat",
    r"\bat hand\b": "there; found; in a cache",
    r"\bof now\b": "current",
    r"\bwhoever (?:asks|asked|brings|had it|has it done|calls)\b": "the caller; however it comes",
    r"has not (?:even )?the (?:form|key)": "does not look like; lacks the key",
    r"(?<!there )\bis no (?:json|base64|sound|host|folder|address|time zone|key:)": "is not",
}
ALL_OF = re.compile("|".join(f"(?:{phrase})" for phrase in PHRASES), re.IGNORECASE)
_FOLDERS = ("router", "scripts", "loopback", "database/schema", "docs", "n8n_workflows", "docker")
_ENDINGS = {".py", ".sql", ".md", ".sh", ".yml"}
_ALONE = ("docker-compose.yml", ".env.example", "Makefile", "Procfile", "Dockerfile")


def texts() -> list[Path]:
    found = [file for folder in _FOLDERS for file in (ROOT / folder).rglob("*")]
    return sorted(
        {
            *(file for file in found if file.suffix in _ENDINGS),
            *ROOT.glob("*.md"),
            *(ROOT / name for name in _ALONE),
        }
    )


def test_the_texts_are_found():
    names = {file.relative_to(ROOT).as_posix() for file in texts()}
    assert {"README.md", ".env.example", "docs/owners.md", "router/main.py"} <= names
    assert len(names) > 200


def test_no_text_has_a_phrase_that_is_hard_to_read():
    found = [
        f"{file.relative_to(ROOT)}:{number}: {hit[0]!r} in {line.strip()}"
        for file in texts()
        for number, line in enumerate(_lines(file), start=1)
        if (hit := ALL_OF.search(line))
    ]
    assert found == []


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", ["README.md"])
def test_the_first_page_is_short(name: str):
    assert len(_lines(ROOT / name)) < 120


@pytest.mark.parametrize("reader", ["owners", "operators", "builders", "deployers", "developers"])
def test_each_kind_of_reader_has_a_page_that_the_first_one_links(reader: str):
    assert (ROOT / "docs" / f"{reader}.md").exists()
    assert f"](docs/{reader}.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
