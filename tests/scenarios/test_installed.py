"""HybridFlow as a wheel: installed beside its libraries, in a folder that knows no checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import asyncpg
import pytest

from router import __version__
from router.state.migrations import read_migrations

ROOT = Path(__file__).resolve().parents[2]
_OF_THE_BUILD = (
    *("pyproject.toml", "README.md", "LICENSE"),
    *("router", "scripts", "loopback", "database", "n8n_workflows"),
)
_NOT_COPIED = shutil.ignore_patterns("__pycache__", ".temp", "node_modules")


def ran(*command: str | Path, **options) -> str:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=100, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in a copy: a build leaves files in its folder."""
    copy = tmp_path_factory.mktemp("source")
    for name in _OF_THE_BUILD:
        there = ROOT / name
        if there.is_dir():
            shutil.copytree(there, copy / name, ignore=_NOT_COPIED)
        else:
            shutil.copy(there, copy / name)
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    ran(sys.executable, "-W", "ignore", "-c", build, cwd=copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv with the wheel; the libraries are those of this run."""
    folder = tmp_path_factory.mktemp("installed")
    ran(sys.executable, "-m", "venv", "--without-pip", folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    libraries = sysconfig.get_path("purelib")
    (packages / "libraries.pth").write_text(f"import site; site.addsitedir({libraries!r})\n")
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python")
    ran(*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel)
    return folder


@pytest.fixture
def hybridflow(environment: Path, tmp_path: Path):
    """Types `hybridflow …` in an empty folder, with nothing in the environment."""

    def typed(*words: str, **variables: str) -> str:
        clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}
        command = environment / "bin" / "hybridflow"
        return ran(command, *words, cwd=tmp_path, env=clean | variables)

    return typed


def test_its_command_lists_the_commands(hybridflow):
    assert hybridflow("--version") == f"hybridflow {__version__}\n"
    assert "\n  tenant " in hybridflow("--help")
    assert hybridflow("tenant", "connect", "--help").startswith("usage: hybridflow tenant connect")
    assert hybridflow("router", "--help").startswith("usage: ")


async def test_it_brings_the_schema_along(hybridflow, empty_database_url: str):
    newest = read_migrations()[-1].file_name
    assert f"applied {newest}" in hybridflow("migrate", DATABASE_URL=empty_database_url)
    added = ("tenant", "add", "my-instance", "--server", "https://evolution.example")
    hybridflow(*added, DATABASE_URL=empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    names = await connection.fetchval("select array_agg(instance_name) from tenants")
    await connection.close()
    assert names == ["my-instance"]


def test_it_has_all_files_that_its_programs_read(wheel: Path, environment: Path):
    (packages,) = environment.glob("lib/python*/site-packages")
    wanted = {
        file.relative_to(ROOT)
        for pattern in ("database/**/*.sql", "database/**/*.sha256", "n8n_workflows/*.json")
        for file in ROOT.glob(pattern)
    }
    assert len(wanted) > 30
    assert [file for file in sorted(wanted) if not (packages / file).exists()] == []
    assert (packages / "scripts" / "n8n" / "package-lock.json").exists()
    assert wheel.name.startswith(f"hybridflow-{__version__}-py3-none-any")


def test_it_brings_no_tests(environment: Path):
    (packages,) = environment.glob("lib/python*/site-packages")
    assert not (packages / "tests").exists()
    assert not (packages / "benchmarks").exists()
