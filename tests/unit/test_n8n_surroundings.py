"""Where n8n runs, and what it is told of: nothing of the product's own settings."""

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from router.configuration.settings import ConfigurationError
from scripts.n8n import library
from scripts.n8n.installation import Installation
from scripts.n8n.launch import require_free_port
from scripts.n8n.server import N8nHome, N8nServer, process_environment

MARKER = "a-key-that-is-in-the-products-env"


class Here(Installation):
    """In place of n8n, a program that tells which `.env` it would read, and its variables."""

    @property
    def node(self) -> Path:
        """Return a program."""
        return Path(sys.executable)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of that program."""
        told = "import os, pathlib; print(os.getcwd(), pathlib.Path('.env').exists(), os.environ)"
        return [sys.executable, "-c", told]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> N8nHome:
    """A home that is named relative to the product's folder, in which an `.env` is."""
    (tmp_path / ".env").write_text(f"ANTHROPIC_API_KEY={MARKER}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTHROPIC_API_KEY", MARKER)
    Path("data").mkdir()
    return N8nHome("postgresql://localhost/n8n", Path("data"), "key")


def test_n8n_is_started_where_no_env_of_the_product_is(home: N8nHome, tmp_path: Path):
    server = N8nServer(Here(tmp_path), home)
    server.start()
    assert server._supervisor is not None
    server._supervisor.wait(60)
    server.stop()
    told = (tmp_path / "data" / "n8n.log").read_text()
    assert told.startswith(f"{tmp_path / 'data' / 'work'} False ")
    assert MARKER not in told


async def test_so_are_its_commands(home: N8nHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said: list[bytes] = []
    begin = asyncio.create_subprocess_exec

    async def listening(*arguments, **how):
        assert how["cwd"] == tmp_path / "data" / "work"
        said.append(str(how["env"]).encode())
        return await begin(*arguments, **how)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", listening)
    await library._n8n(Here(tmp_path), home, "export:workflow")
    assert said
    assert MARKER.encode() not in said[0]


def test_its_time_zone_is_that_of_the_environment_or_utc(
    home: N8nHome, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("TZ", raising=False)
    assert home.environment()["GENERIC_TIMEZONE"] == "UTC"
    monkeypatch.setenv("TZ", "America/Sao_Paulo")
    assert home.environment()["GENERIC_TIMEZONE"] == "America/Sao_Paulo"


def test_its_folder_is_named_wherever_it_works(home: N8nHome, tmp_path: Path):
    assert home.environment()["N8N_USER_FOLDER"] == str(tmp_path / "data")
    assert MARKER not in str(process_environment(Here(tmp_path), home.environment()))


def test_a_port_that_is_taken_is_named_before_anything_is_started():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"N8N_PORT: something listens on {port}"):
            require_free_port(port)
    require_free_port(port)
