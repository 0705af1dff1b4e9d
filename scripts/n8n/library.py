"""Imports and exports workflows and credentials by n8n's own commands, and publishes them.

An import takes effect when n8n starts the next time.
"""

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from scripts.n8n.canonical import canonical, file_name, to_text, with_examples_of, with_router_url
from scripts.n8n.credentials import fill_in, read_example
from scripts.n8n.installation import Installation
from scripts.n8n.keys import note_given
from scripts.n8n.llm_addresses import with_llm_addresses
from scripts.n8n.publishing import CannotPublish, publish
from scripts.n8n.server import SUPERVISOR, N8nHome, process_environment

_ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = _ROOT / "n8n_workflows"
# Examples, which builders copy and change, stay drafts.
DRAFTS = frozenset(
    {
        *("hybridflowAgent", "hybridflowGateway"),
        *("hybridflowMedia", "hybridflowTools", "hybridflowBranch"),
    }
)


class CommandFailed(Exception):
    """A command of n8n failed. The text is its output."""


class UnreadableFile(CommandFailed):
    """A file in a folder of workflows cannot be read, so nothing was done."""


async def import_all(
    installation: Installation,
    home: N8nHome,
    *,
    folder: Path,
    variables: Mapping[str, str],
    router_url: str,
    drafts: Collection[str] = DRAFTS,
) -> tuple[str, ...]:
    """Import the credentials and the workflows of `folder`; publish all except `drafts`.

    Returns the workflows' names. Workflows with other ids are not changed. Raises CommandFailed.
    """
    workflows = read_workflows(folder)
    await import_credentials(installation, home, fill_in(read_example(folder), variables))
    with tempfile.TemporaryDirectory(prefix="hybridflow-n8n-") as name:
        addressed = {
            f"{w['id']}.json": with_llm_addresses(with_router_url(w, router_url), variables)
            for w in workflows
        }
        _write_all(Path(name), {file: json.dumps(w) for file, w in addressed.items()})
        await _n8n(installation, home, "import:workflow", "--separate", f"--input={name}")
    try:
        await publish(home.database_url, sorted(ids_of(folder) - set(drafts)))
    except CannotPublish as error:
        raise CommandFailed(str(error)) from error
    return tuple(str(workflow["name"]) for workflow in workflows)


async def import_credentials(
    installation: Installation, home: N8nHome, credentials: Sequence[dict[str, Any]]
) -> None:
    """Import these credentials, replacing those with the same ids. Raises CommandFailed."""
    with tempfile.TemporaryDirectory(prefix="hybridflow-n8n-") as name:
        # Only the owner can read the folder, and it is deleted at once.
        secrets = {"credentials.json": json.dumps(credentials)}
        (file,) = _write_all(Path(name), secrets)
        await _n8n(installation, home, "import:credentials", f"--input={file}")
    note_given(home, credentials)


async def export_all(
    installation: Installation,
    home: N8nHome,
    folder: Path,
    which: Literal["drafts", "published"] = "drafts",
) -> tuple[Path, ...]:
    """Write every workflow of n8n to `folder` in its canonical form; return the files.

    `published`: the published versions; unpublished workflows are left out. `drafts`: the versions
    in the editor. If the editor has no pinned example, the one in the folder's file stays. Raises
    CommandFailed, UnreadableFile, and SecretInWorkflow before anything is written.
    """
    with tempfile.TemporaryDirectory(prefix="hybridflow-n8n-") as name:
        only = ("--published",) if which == "published" else ()
        await _n8n(installation, home, "export:workflow", "--backup", *only, f"--output={name}")
        exported = _read_all(Path(name))
    texts = {}
    for workflow in exported:
        file = folder / (name := file_name(workflow))
        before = _read(file) if file.exists() else None
        texts[name] = to_text(canonical(with_examples_of(workflow, before)))
    return _write_all(folder, texts)


def read_workflows(folder: Path) -> list[dict[str, Any]]:
    """Return the workflows in a folder. Raises UnreadableFile."""
    return [workflow for workflow in _read_all(folder) if "nodes" in workflow]


def _read_all(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("*.json"))
    return [_read(file) for file in files if _is_workflow(file)]


def _read(file: Path) -> dict[str, Any]:
    try:
        workflow: dict[str, Any] = json.loads(file.read_text())
    except ValueError as error:  # such as after a merge conflict
        text = f"{file} is not JSON: {error}. Nothing was done. Repair it, or take it away."
        raise UnreadableFile(text) from error
    return workflow


def _write_all(folder: Path, texts: Mapping[str, str]) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (folder / file).write_text(text)
    return tuple(folder / file for file in sorted(texts))


def fingerprint(folder: Path) -> str:
    """Return a hash that shows whether the workflows of a folder have changed."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.json")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _is_workflow(file: Path) -> bool:
    return not file.name.endswith((".example.json", ".schema.json"))


def ids_of(folder: Path) -> set[str]:
    """Return the ids of the workflows in a folder."""
    return {str(workflow["id"]) for workflow in read_workflows(folder)}


async def _n8n(installation: Installation, home: N8nHome, *arguments: str) -> None:
    """Run one command; it is ended with this program, else it would wait for its database for ever.

    Raises CommandFailed.
    """
    process = await asyncio.create_subprocess_exec(
        *(*SUPERVISOR, *installation.command(*arguments)),
        cwd=home.working_folder(),
        env=process_environment(installation, home.environment()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    await process.stdout.readline()  # the pid, which is not needed
    said = (await process.stdout.read()).decode(errors="replace")
    await process.wait()
    # Some of n8n's commands report a failure, but exit with 0.
    if process.returncode != 0 or "An error occurred" in said or "Error updating" in said:
        end = "\n".join(said.strip().splitlines()[-12:])
        raise CommandFailed(f"n8n {arguments[0]} failed:\n{end}")
