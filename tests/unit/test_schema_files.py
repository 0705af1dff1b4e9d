"""The files of database/schema/: each has one job, says which, and fits on a few screens."""

import re
from pathlib import Path

from tests.for_each import for_each

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "database" / "schema").glob("*.sql"))
MOST_LINES = 400
# Longer than that, for it is made of the declared settings.
LONGER = {"0790_tenant_settings.sql"}
# Guides that name a file are read by tests/guides/test_named_paths.py.
SOURCES = (*(ROOT / "router").rglob("*.py"), *(ROOT / "scripts").rglob("*.py"), *FILES)


def test_only_those_named_here_are_longer_than_a_few_screens():
    long = {file.name for file in FILES if len(file.read_text().splitlines()) > MOST_LINES}
    assert long == LONGER, "divide a long file by its jobs; one that is short now is no exception"


@for_each("file", FILES, ids=lambda file: file.name)
def test_each_file_begins_with_its_job(file: Path):
    assert file.read_text().startswith("-- HybridFlow: ")


def test_a_source_that_names_a_file_names_one_that_is_there():
    names = {file.name for file in FILES}
    for text in SOURCES:
        named = set(re.findall(r"\b0\d{3}_[a-z_]+\.sql\b", text.read_text()))
        assert named <= names, f"{text}: there is no {named - names}"
