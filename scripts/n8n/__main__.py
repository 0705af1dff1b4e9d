"""n8n on this machine, without Docker.

python -m scripts.n8n install       install node and n8n into a cache folder (once)
python -m scripts.n8n start         run n8n on the router's PostgreSQL, until Ctrl-C
python -m scripts.n8n import        import n8n_workflows/ into n8n, and publish
python -m scripts.n8n export        write n8n's workflows to n8n_workflows/, fit for git
python -m scripts.n8n check         check n8n_workflows/, without starting n8n
python -m scripts.n8n try           give a flow a test turn and show the reply; nothing is sent
python -m scripts.n8n schema        write n8n_workflows/*.schema.json from the router's models
python -m scripts.n8n credentials   write a file for `n8n import:credentials`
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import asyncpg

from router.configuration.settings import ConfigurationError, Settings, load_settings
from router.embedded.errors import EmbeddedPostgresError
from router.state.database import Database
from scripts.banner import ASKS_FOR_AN_OWNER
from scripts.n8n.canonical import SecretInWorkflow
from scripts.n8n.catalogue import catalogue_of, installed_community
from scripts.n8n.credentials import fill_in, read_example, variables_of
from scripts.n8n.installation import InstallationFailed, cache_folder, install
from scripts.n8n.launch import fill, n8n_home, running_n8n
from scripts.n8n.library import WORKFLOWS, CommandFailed, export_all
from scripts.n8n.only_one import N8nRunsAlready
from scripts.n8n.server import N8nDidNotStart
from scripts.running import CannotGoOn, called, configuration, run

_TOLD = (
    asyncpg.PostgresError,
    CannotGoOn,
    CommandFailed,
    ConfigurationError,
    EmbeddedPostgresError,
    InstallationFailed,
    N8nDidNotStart,
    N8nRunsAlready,
    OSError,
    SecretInWorkflow,
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit code; 1: it failed, and the reason was printed."""
    parser = argparse.ArgumentParser(
        prog=called("scripts.n8n"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name in ("install", "start", "import", "export", "check"):
        command = commands.add_parser(name)
        if name in ("import", "export", "check"):
            command.add_argument("--folder", type=Path, default=WORKFLOWS)
        if name == "export":
            command.add_argument(
                "--drafts",
                action="store_true",
                help="as the editor shows them, also what is not published (the examples are not)",
            )
    _add_try(commands.add_parser("try"))
    commands.add_parser("schema")
    commands.add_parser("credentials").add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        return _COMMANDS[given.command](given)
    except KeyboardInterrupt:
        return 130
    except _TOLD as error:
        print(error, file=sys.stderr)
        return 1


def _add_try(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tenant", metavar="INSTANCE", default="", help="where there are several")
    command.add_argument("--text", help="what the customer writes")
    command.add_argument("--flow", metavar="PATH", help="its webhook's path, if not the tenant's")
    command.add_argument("--contract", choices=("answer", "gateway"), help="if not the tenant's")
    command.add_argument(
        "--editor",
        action="store_true",
        help="to n8n's editor, which waits for it: unpin the webhook, press Execute workflow",
    )


def _install(_: argparse.Namespace) -> int:
    installation = install(cache_folder(), _tell)
    print(f"n8n is in {installation.folder}")
    return 0


def _start(_: argparse.Namespace) -> int:
    with running_n8n(_settings(), _tell) as server:
        print(f"n8n's editor: {server.home.url}   (Ctrl-C ends it){ASKS_FOR_AN_OWNER}", flush=True)
        signal.pause()
    return 0


def _import(given: argparse.Namespace) -> int:
    _require_workflows(given.folder)
    settings = _settings()
    with n8n_home(settings, _tell) as (installation, home):
        for name in fill(installation, home, settings, given.folder):
            print(f"imported: {name}")
    print("They take effect when n8n starts the next time.")
    return 0


def _export(given: argparse.Namespace) -> int:
    with n8n_home(_settings(), _tell) as (installation, home):
        which: Literal["drafts", "published"] = "drafts" if given.drafts else "published"
        for file in asyncio.run(export_all(installation, home, given.folder, which)):
            print(f"exported: {file}")
    if not given.drafts:
        print("Only what is published. --drafts: as the editor shows it, published or not.")
    return 0


def _check(given: argparse.Namespace) -> int:
    _require_workflows(given.folder)
    from scripts.n8n.checking import check_folder

    own = load_settings({**os.environ, "N8N_ENABLED": "false"}).hybridflow_data / "n8n"
    catalogue = catalogue_of(install(cache_folder(), _tell))
    faults = check_folder(given.folder, replace(catalogue, community=installed_community(own)))
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(f"{given.folder}: no problems found")
    return 1 if faults else 0


def _try(given: argparse.Namespace) -> int:
    from router.n8n.trial import TEXT, Trial
    from scripts.n8n.trying import try_flow

    _settings()  # prints which key is missing
    wanted = Trial(given.tenant, given.text or TEXT, given.flow, given.contract, given.editor)

    async def work(settings: Settings, database: Database) -> int:
        return await try_flow(settings, database, wanted)

    return run(work)


def _schema(_: argparse.Namespace) -> int:
    from scripts.n8n.schema import write_schemas

    write_schemas(WORKFLOWS)
    return 0


def _credentials(given: argparse.Namespace) -> int:
    filled = fill_in(read_example(WORKFLOWS), variables_of(_settings()))
    descriptor = os.open(given.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(filled, file)
    print(f"{given.output}: {len(filled)} credentials")
    return 0


def _require_workflows(folder: Path) -> None:
    if not any(folder.glob("*.json")):
        raise CannotGoOn(f"no workflow (a .json file) lies in {folder}: name another with --folder")


def _settings() -> Settings:
    settings = configuration()
    if settings.n8n_api_key is None:
        raise CannotGoOn(
            "N8N_API_KEY is not set: workflows would be open to anybody, or to nobody."
            " Set it in .env (openssl rand -hex 32), or use `make run N8N=1`, which makes one."
        )
    return settings


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "install": _install,
    "start": _start,
    "import": _import,
    "export": _export,
    "check": _check,
    "try": _try,
    "schema": _schema,
    "credentials": _credentials,
}

if __name__ == "__main__":
    sys.exit(main())
