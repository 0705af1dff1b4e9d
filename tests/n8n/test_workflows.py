"""The exported workflows: they go into a real n8n and come back out the same, and are sound."""

import json
import re
from pathlib import Path

import asyncpg
import pytest

from router.n8n.payload import TurnPayload
from router.notices.payload import NoticePayload
from scripts.n8n.canonical import canonical, to_text
from scripts.n8n.catalogue import catalogue_of
from scripts.n8n.checking import check_folder
from scripts.n8n.library import WORKFLOWS, export_all, read_workflows
from scripts.n8n.schema import SCHEMAS, schema_text
from tests.n8n_server import SHOP, TestN8n

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


@pytest.mark.parametrize("id_", ["Inbound", "Agent", "Gateway", "Media", "Tools", "Branch"])
def test_the_example_of_a_turn_is_a_turn(id_: str):
    (workflow,) = (w for w in read_workflows(WORKFLOWS) if w["id"] == f"hybridflow{id_}")
    example = workflow["pinData"]["Turn"][0]["json"]["body"]
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
        text = (tmp_path / name).read_text().replace(n8n.shop.url, SHOP)
        assert text == (WORKFLOWS / name).read_text(), name


@pytest.mark.n8n
async def test_an_edit_that_is_not_published_is_exported_as_a_draft_alone(
    n8n: TestN8n, tmp_path: Path
):
    home = n8n.server.home
    workflow = "where id = 'hybridflowConnection'"
    edit = "replace(nodes::text, 'Told again later', 'Told once more')::json"
    connection = await asyncpg.connect(home.database_url)
    try:
        before = await connection.fetchval(f"select nodes from workflow_entity {workflow}")
        await connection.execute(f"update workflow_entity set nodes = {edit} {workflow}")
        # As the editor saves: the draft has a version of its own.
        draft = "update workflow_entity set \"versionId\" = 'a-draft' "
        await connection.execute(draft + workflow)
        published = await export_all(n8n.installation, home, tmp_path, "published")
        text = (tmp_path / "connection_alert.json").read_text()
        await export_all(n8n.installation, home, tmp_path)
        drafted = (tmp_path / "connection_alert.json").read_text()
        await connection.execute(
            'update workflow_entity set nodes = $1, "versionId" = "activeVersionId" ' + workflow,
            before,
        )
    finally:
        await connection.close()
    assert "Told again later" in text
    assert "Told once more" in drafted
    assert "auto_resume.json" not in {file.name for file in published}
