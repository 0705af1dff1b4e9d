"""The exported workflows: they go into a real n8n and come back out the same, and are sound."""

import json
import re
from pathlib import Path

import pytest

from router.n8n.payload import TurnPayload
from router.notices.payload import NoticePayload
from scripts.n8n.canonical import canonical, to_text
from scripts.n8n.catalogue import catalogue_of
from scripts.n8n.checking import check_folder
from scripts.n8n.library import WORKFLOWS, export_all, read_workflows
from scripts.n8n.schema import SCHEMAS, schema_text
from tests.n8n_server import TestN8n

FILES = sorted(
    file.name
    for file in WORKFLOWS.glob("*.json")
    if not file.name.endswith((".example.json", ".schema.json"))
)


@pytest.mark.parametrize("file", SCHEMAS)
def test_the_schema_of_what_n8n_is_given_is_current(file: str):
    assert (WORKFLOWS / file).read_text() == schema_text(SCHEMAS[file])


@pytest.mark.parametrize("file", FILES)
def test_a_workflow_lies_in_git_in_its_canonical_form(file: str):
    text = (WORKFLOWS / file).read_text()
    assert to_text(canonical(json.loads(text))) == text


def test_the_example_of_a_turn_is_a_turn():
    (inbound,) = (w for w in read_workflows(WORKFLOWS) if w["id"] == "hybridflowInbound")
    example = inbound["pinData"]["Turn"][0]["json"]["body"]
    assert TurnPayload.model_validate(example).model_dump(mode="json") == example


@pytest.mark.parametrize("id_", ["hybridflowHandoff", "hybridflowConnection"])
def test_the_example_of_a_notice_is_a_notice(id_: str):
    (workflow,) = (w for w in read_workflows(WORKFLOWS) if w["id"] == id_)
    example = workflow["pinData"]["Notice"][0]["json"]["body"]
    assert NoticePayload.model_validate(example).model_dump(mode="json") == example


def test_no_credential_is_in_a_workflow():
    for file in WORKFLOWS.glob("*.json"):
        for found in re.findall(r'"(?:apiKey|value)": "(<[A-Z_]+>)"', file.read_text()):
            assert file.name == "credentials.example.json", found


@pytest.mark.n8n
def test_every_workflow_passes_the_offline_check(n8n: TestN8n):
    assert check_folder(WORKFLOWS, catalogue_of(n8n.installation)) == ()


@pytest.mark.n8n
async def test_every_workflow_comes_back_from_n8n_byte_for_byte(n8n: TestN8n, tmp_path: Path):
    exported = await export_all(n8n.installation, n8n.server.home, tmp_path)
    assert {file.name for file in exported} >= set(FILES)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (WORKFLOWS / name).read_bytes(), name
