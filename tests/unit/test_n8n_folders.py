"""Folders of workflows that cannot be taken: the command says which file, and does nothing."""

import json
from pathlib import Path

import pytest

from scripts.n8n.__main__ import main
from scripts.n8n.library import CommandFailed, UnreadableFile, a_few_at_once, read_workflows


@pytest.mark.parametrize("command", ["check", "import"])
def test_a_folder_without_workflows_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
):
    assert main([command, "--folder", str(tmp_path / "nowhere")]) == 1
    assert f"lies in {tmp_path / 'nowhere'}" in capsys.readouterr().err


def test_a_file_that_a_merge_has_torn_is_named(tmp_path: Path):
    (tmp_path / "good.json").write_text(json.dumps({"id": "a", "nodes": []}))
    assert len(read_workflows(tmp_path)) == 1
    (tmp_path / "torn.json").write_text("<<<<<<< HEAD\n{}")
    with pytest.raises(UnreadableFile, match=r"torn\.json is not JSON: .* Nothing was done"):
        read_workflows(tmp_path)


async def test_what_n8n_refuses_of_several_workflows_is_told_as_of_one():
    async def refuse(name: str) -> None:
        raise CommandFailed(f"n8n unpublish:workflow failed: {name}")

    with pytest.raises(CommandFailed, match="failed: one"):
        await a_few_at_once(refuse, ["one", "two"])
