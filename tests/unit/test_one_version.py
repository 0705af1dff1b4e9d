"""The version is written in `router/__init__.py`; what repeats it says the same."""

import re
import tomllib
from importlib import import_module
from pathlib import Path

import yaml
from packaging.version import Version

from router import __version__
from scripts.build_schema import newest_file

ROOT = Path(__file__).resolve().parents[2]


def test_the_package_has_it_from_the_router():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    module, _, name = project["tool"]["setuptools"]["dynamic"]["version"]["attr"].rpartition(".")
    assert getattr(import_module(module), name) == __version__


def test_the_newest_migration_is_this_versions():
    file = newest_file()
    assert file.stem.partition("_")[2] == f"v{Version(__version__).base_version.replace('.', '_')}"


def test_the_images_tag_is_this_version():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    images = {service["image"] for service in compose["services"].values()}
    assert f"hybridflow:{__version__.replace('.dev', '-dev')}" in images


def test_the_changelog_begins_with_it():
    """With "Unreleased" until then: who reads it wants to know what is coming."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    version = Version(__version__)
    date = "Unreleased" if version.is_prerelease else r"20\d\d-\d\d-\d\d"
    assert re.fullmatch(rf"\[{re.escape(version.base_version)}\] - {date}", headings[0])
