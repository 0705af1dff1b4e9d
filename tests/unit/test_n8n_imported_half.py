"""After an import into n8n that failed, n8n can start; two imports are not mixed."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from router.configuration.settings import load_settings
from router.embedded.alone import alone
from scripts.n8n import launch
from scripts.n8n.launch import Place, fill, running_n8n
from scripts.n8n.library import WORKFLOWS, CommandFailed, fingerprint
from scripts.n8n.server import N8nHome

SETTINGS = load_settings({"N8N_API_KEY": "a-key-of-n8n"}, env_file=None)
NO_INSTALLATION: Any = None


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> N8nHome:
    """An n8n into which workflows were imported, and in which no command can be run."""
    made = N8nHome("postgresql://127.0.0.1:1/none", tmp_path / "home", "a-key")
    made.folder.mkdir()
    (made.folder / "imported").write_text(fingerprint(WORKFLOWS))

    async def nothing(*_: object, **__: object) -> None:
        return

    async def archived(*_: object, **__: object) -> None:
        raise CommandFailed("n8n cannot publish a: archived in n8n. Restore it in n8n's editor")

    monkeypatch.setattr(launch, "export_all", nothing)
    monkeypatch.setattr(launch, "unpublish", nothing)
    monkeypatch.setattr(launch, "import_all", archived)
    return made


def test_n8n_starts_after_an_import_that_fails_again(
    home: N8nHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its editor is where the cause is repaired."""
    with pytest.raises(CommandFailed):
        fill(NO_INSTALLATION, home, SETTINGS, WORKFLOWS)
    (backup,) = home.folder.glob("before-*")
    backup.rmdir()  # the next one is made in another second
    told: list[str] = []
    done: list[str] = []

    class Server:
        def __init__(self, *_: object) -> None:
            pass

        def start(self) -> None:
            done.append("started")

        async def ready(self) -> None:
            done.append("ready")

        def stop(self) -> None:
            done.append("stopped")

    @contextmanager
    def opened(*_: object) -> Iterator[tuple[None, N8nHome]]:
        yield None, home

    monkeypatch.setattr(launch, "n8n_home", opened)
    monkeypatch.setattr(launch, "N8nServer", Server)
    monkeypatch.setattr(launch, "kept_alive", lambda *_: nullcontext())
    monkeypatch.setattr(launch, "require_free_port", lambda _: None)
    monkeypatch.setattr(launch, "end_leftovers", lambda *_: None)
    with running_n8n(SETTINGS, told.append, Place(home.folder, "n8n")):
        pass
    assert done == ["started", "ready", "stopped"]
    assert any("Restore it in n8n's editor" in line for line in told)


def test_two_imports_at_once_are_not_mixed(home: N8nHome) -> None:
    """One would unpublish what the other has published, and then say that all was imported."""
    before = (home.folder / "imported").read_text()
    with alone(home.folder, "importing"), pytest.raises(CommandFailed, match="another import"):
        fill(NO_INSTALLATION, home, SETTINGS, WORKFLOWS)
    assert (home.folder / "imported").read_text() == before
