"""The workflows of GitHub Actions, as far as they can be judged without it."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.embedded.binaries import OVERRIDE

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS: dict[str, dict[str, Any]] = {
    file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in FILES
}
JOBS = [
    pytest.param(job, id=f"{name}: {key}")
    for name, workflow in WORKFLOWS.items()
    for key, job in workflow["jobs"].items()
]
_TARGETS = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def steps_of(workflow: str, job: str) -> list[str]:
    return [step.get("run", "") for step in WORKFLOWS[workflow]["jobs"][job]["steps"]]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_action_is_pinned_by_its_commit_and_says_which_version_that_is(file: Path):
    used = re.findall(r"uses: (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


@pytest.mark.parametrize("job", JOBS)
def test_a_job_ends_by_itself_and_may_write_nothing(job: dict[str, Any]):
    assert 0 < job["timeout-minutes"] <= 180
    assert "permissions" not in job
    for step in job["steps"]:
        if str(step.get("uses", "")).startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_reads_alone(name: str):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_runs_targets_that_there_are(job: dict[str, Any]):
    for step in job["steps"]:
        for words in re.findall(r"(?:^|&& )make ([^&|\n]+)", step.get("run", "")):
            assert {word for word in words.split() if "=" not in word} <= _TARGETS


def test_every_python_that_the_package_promises_is_tried():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = {
        found[1]
        for line in project["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    }
    jobs = WORKFLOWS["ci"]["jobs"]
    tried = set(jobs["python"]["strategy"]["matrix"]["python"])
    settings = [step.get("with", {}) for step in jobs["everything"]["steps"]]
    tried |= {given["python-version"] for given in settings if "python-version" in given}
    assert tried == promised == {"3.11", "3.12", "3.13", "3.14"}
    assert project["requires-python"] == f">={min(promised)}"
    nightly = WORKFLOWS["nightly"]["jobs"]["everything"]["strategy"]["matrix"]["python"]
    assert set(nightly) == promised


def test_every_postgresql_that_the_guide_promises_is_tried():
    job = WORKFLOWS["ci"]["jobs"]["postgresql"]
    assert job["strategy"]["matrix"]["postgresql"] == ["15", "16", "17", "18"]
    assert OVERRIDE in job["env"]
    assert OVERRIDE in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


_CONVERSES = re.compile(
    r"make (test( |$)|coverage)|test-conversations|tests/scenarios", re.MULTILINE
)


@pytest.mark.parametrize("job", JOBS)
def test_a_job_that_runs_the_conversations_can_speak(job: dict[str, Any]):
    """test_real_speech.py needs espeak-ng, which GitHub's machines do not have."""
    run = "\n".join(step.get("run", "") for step in job["steps"])
    if _CONVERSES.search(run):
        assert "espeak-ng" in run


def test_what_a_change_must_pass_is_what_a_developer_runs():
    assert "make test" in steps_of("ci", "everything")
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    test = (ROOT / "Makefile").read_text().split("\ntest:")[1].split("\n\n")[0]
    assert "tests.console.chromium" in test  # a new machine has none


def test_the_hooks_are_the_projects_own_tools():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    lint = (ROOT / "Makefile").read_text().replace("$(BIN)/", ".venv/bin/")
    for hook in hooks["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        program = " ".join(hook["entry"].split()[: 3 if " -m " in hook["entry"] else 1])
        assert program in lint, hook
