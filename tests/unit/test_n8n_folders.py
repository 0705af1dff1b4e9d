"""Folders of workflows that cannot be taken: the command says which file, and does nothing."""

import json
from pathlib import Path

import pytest

from scripts.n8n.__main__ import main
from scripts.n8n.library import UnreadableFile, read_workflows


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
