"""Whatever variable a guide names is one that something reads, with the default that it has."""

import re
from pathlib import Path

import pytest

from router.configuration.settings import Settings
from tests.guides.commands import ROOT, guides
from tests.guides.test_named_paths import id_of, prose_of

FIELDS = {str(field.alias): field for field in Settings.model_fields.values()}
COMPOSE = (ROOT / ".env.example").read_text().partition("# --- Docker Compose only")[2]
IN_COMPOSE = set(re.findall(r"^#?([A-Z0-9_]+)=", COMPOSE, re.MULTILINE)) | set(
    re.findall(r"^ +([A-Z0-9_]+):", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE)
)
_OF_N8N = "N8N_EXTRA_"  # n8n's own, by scripts/n8n/extra.py
_FOR_TESTS = "tests read it"
_ANOTHERS = "an event of Evolution's"
ELSEWHERE = {
    "HYBRIDFLOW_POSTGRES_BIN": _FOR_TESTS,
    "CHROMIUM_BIN": _FOR_TESTS,
    "POSTGREST_BIN": _FOR_TESTS,
    "HYBRIDFLOW_N8N_VERSION": "scripts.n8n and the tests read it",
    "HYBRIDFLOW_N8N_ENGINE": _FOR_TESTS,
    "HF_HOME": "of the library that keeps models: router/senses/local_engine.py",
    "MESSAGES_UPDATE": _ANOTHERS,
    "SEND_MESSAGE": _ANOTHERS,
    "RESTORED_URL": "the shell's of whoever restores a backup",
}
# What was, and is no more, is named in the changelog rightly.
GUIDES = [guide for guide in guides() if guide.name != "CHANGELOG.md"]
_NAME = re.compile(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?:=[^`]*)?`")
_WITH_DEFAULT = re.compile(r"`([A-Z][A-Z0-9_]+)` \(([\d.]+)\)")


@pytest.mark.parametrize("guide", GUIDES, ids=id_of)
def test_every_variable_that_a_guide_names_is_read(guide: Path):
    unknown = set(_NAME.findall(prose_of(guide))) - set(FIELDS) - IN_COMPOSE - set(ELSEWHERE)
    assert {name for name in unknown if not name.startswith(_OF_N8N)} == set()


def test_what_is_elsewhere_is_named_somewhere():
    named = {name for guide in GUIDES for name in _NAME.findall(prose_of(guide))}
    assert set(ELSEWHERE) - named == set()


def test_a_default_beside_a_variable_is_the_variables():
    looked_at = 0
    for guide in GUIDES:
        for name, value in _WITH_DEFAULT.findall(prose_of(guide)):
            looked_at += 1
            assert float(value) == FIELDS[name].default, f"{id_of(guide)}: {name}"
    assert looked_at > 4
