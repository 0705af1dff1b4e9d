"""Importing again: what n8n had is kept in a backup, what the files say is at work."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from router.configuration.settings import load_settings
from scripts.n8n.installation import Installation, cache_folder, install
from scripts.n8n.launch import fill
from scripts.n8n.library import WORKFLOWS, CommandFailed, read_workflows
from scripts.n8n.publishing import CannotPublish, publish, unpublish
from scripts.n8n.server import N8nHome, process_environment
from tests.n8n_server import WITHOUT_EDITOR

pytestmark = pytest.mark.n8n
_ERROR = "hybridflowError"


def test_an_import_takes_over_the_files_and_keeps_what_was_there(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    installation = install(cache_folder(), print)
    folder_of_n8n = tmp_path / "home"
    home = N8nHome(empty_database_url, folder_of_n8n, "a-key-of-this-test", extra=WITHOUT_EDITOR)
    home.folder.mkdir()
    settings = load_settings(
        {"N8N_API_KEY": "a-key-of-n8n", "N8N_ROUTER_URL": "http://router.example"}, env_file=None
    )
    folder = tmp_path / "workflows"
    folder.mkdir()
    for name in ("error.json", "credentials.example.json"):
        shutil.copy(WORKFLOWS / name, folder / name)
    fill(installation, home, settings, folder)
    check_publishing(installation, home)
    (home.folder / "imported").unlink()  # as if it had been broken off, when this was published
    fill(installation, home, settings, folder)

    changed = json.loads((folder / "error.json").read_text())
    changed["name"] = "HybridFlow: a flow crashed badly"
    (folder / "error.json").write_text(json.dumps(changed))
    fill(installation, home, settings, folder)
    (backup,) = home.folder.glob("before-*")
    (kept,) = read_workflows(backup)
    assert kept["name"] == "HybridFlow: a flow crashed"

    def breaks(*_: object, **__: object) -> None:
        raise CommandFailed("n8n import:workflow failed")

    with monkeypatch.context() as broken:
        broken.setattr("scripts.n8n.launch.import_all", breaks)
        with pytest.raises(CommandFailed):
            fill(installation, home, settings, folder)
    assert not (home.folder / "imported").read_text()  # so the next start imports again
    for backup in home.folder.glob("before-*"):
        shutil.rmtree(backup)
    fill(installation, home, settings, folder)  # what was changed in the editor meanwhile is kept
    (backup,) = home.folder.glob("before-*")
    (kept,) = read_workflows(backup)
    assert kept["name"] == "HybridFlow: a flow crashed badly"
    assert row_of(home, _ERROR)["active"]

    asyncio.run(archive(home))  # in the editor: an import leaves it so
    with pytest.raises(CommandFailed, match="archived in n8n"):
        fill(installation, home, settings, folder)


async def archive(home: N8nHome) -> None:
    connection = await asyncpg.connect(home.database_url)
    try:
        await connection.execute(
            """update workflow_entity set "isArchived" = true where id = $1""", _ERROR
        )
    finally:
        await connection.close()


def check_publishing(installation: Installation, home: N8nHome) -> None:
    """What is written is what n8n's own command writes; what cannot be published is named."""
    ours = row_of(home, _ERROR)
    assert ours["active"]
    command = installation.command("publish:workflow", f"--id={_ERROR}")
    environment = process_environment(installation, home.environment())
    folder = home.working_folder()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    assert row_of(home, _ERROR) == ours

    asyncio.run(unpublish(home.database_url, {_ERROR}))
    drafted = row_of(home, _ERROR)
    assert drafted == {**ours, "active": False, "activeVersionId": None}
    with pytest.raises(CannotPublish, match=r"n8n cannot publish nobodysFlow: .* import again"):
        asyncio.run(publish(home.database_url, {_ERROR, "nobodysFlow"}))
    assert row_of(home, _ERROR) == ours


def row_of(home: N8nHome, workflow_id: str) -> dict[str, Any]:
    """Return a workflow as n8n stores it, without the time of its last change."""

    async def read() -> dict[str, Any]:
        connection = await asyncpg.connect(home.database_url)
        try:
            row = await connection.fetchrow(
                "select * from workflow_entity where id = $1", workflow_id
            )
        finally:
            await connection.close()
        assert row is not None
        return {name: value for name, value in row.items() if name != "updatedAt"}

    return asyncio.run(read())
