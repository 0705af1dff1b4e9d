"""Importing again: what n8n had is kept in a backup, what the files say is at work."""

import json
import shutil
from pathlib import Path

import pytest

from router.configuration.settings import load_settings
from scripts.n8n.installation import cache_folder, install
from scripts.n8n.launch import fill
from scripts.n8n.library import WORKFLOWS, read_workflows
from scripts.n8n.server import N8nHome

pytestmark = pytest.mark.n8n


def test_an_import_takes_over_the_files_and_keeps_what_was_there(
    empty_database_url: str, tmp_path: Path
):
    installation = install(cache_folder(), print)
    home = N8nHome(empty_database_url, tmp_path / "home", "a-key-of-this-test")
    home.folder.mkdir()
    settings = load_settings(
        {"N8N_API_KEY": "a-key-of-n8n", "N8N_ROUTER_URL": "http://router.example"}, env_file=None
    )
    folder = tmp_path / "workflows"
    folder.mkdir()
    for name in ("error.json", "credentials.example.json"):
        shutil.copy(WORKFLOWS / name, folder / name)
    fill(installation, home, settings, folder)
    (home.folder / "imported").unlink()  # as if it had been broken off, when this was published
    fill(installation, home, settings, folder)

    changed = json.loads((folder / "error.json").read_text())
    changed["name"] = "HybridFlow: a flow crashed badly"
    (folder / "error.json").write_text(json.dumps(changed))
    fill(installation, home, settings, folder)
    (backup,) = home.folder.glob("before-*")
    (kept,) = read_workflows(backup)
    assert kept["name"] == "HybridFlow: a flow crashed"

    changed["name"] = "HybridFlow: third"
    (folder / "error.json").write_text(json.dumps(changed))
    shutil.rmtree(backup)
    fill(installation, home, settings, folder)
    (backup,) = home.folder.glob("before-*")
    (kept,) = read_workflows(backup)
    assert kept["name"] == "HybridFlow: a flow crashed badly"
