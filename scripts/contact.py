"""One contact's data: `python -m scripts.contact export|erase INSTANCE NUMBER [--out FILE]`.

It works on the configured database through the same SQL functions as the REST API, and is audited.
NUMBER is a phone number with its country code, or a JID. Exit code 0: done; 1: not done, with the
reason and the fix on stderr; 2: the command was not understood.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from router.configuration.settings import Settings
from router.people.hashing import ContactHashes
from router.people.requests import Person, erase_contact, export_contact
from router.state.calls.tenants import GetTenant, get_tenant
from router.state.database import Database, Json
from scripts.operators import as_script
from scripts.running import CannotGoOn, called, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    given = _parser().parse_args(arguments)

    async def work(settings: Settings, state: Database) -> int:
        database = as_script(state)
        found = await get_tenant(database, GetTenant(instance_name=given.instance))
        person = Person.known_as(found.tenant.id, given.number)
        if given.command == "export":
            return await export(database, person, given.out)
        return await erase(
            database,
            ContactHashes.of(settings.secrets_key, settings.webhook_secrets),
            person,
            given.out,
        )

    return run(work)


async def export(database: Database, person: Person, out: Path | None) -> int:
    """Write everything that is stored about the person to `out`, or to stdout."""
    _write(await export_contact(database, person), out)
    return 0


async def erase(database: Database, hashes: ContactHashes, person: Person, out: Path | None) -> int:
    """Erase the person, and print how much was erased; with `out`, export first."""
    if out is not None:
        await export(database, person, out)
    erased = await erase_contact(database, hashes, person)
    rows = (f"{count} {name}" for name, count in sorted(erased.erased.items()) if count)
    print(f"Erased: {', '.join(rows)}.")
    if erased.execution_ids:
        print(f"n8n worked on it in the executions {', '.join(erased.execution_ids)}.")
    return 0


def _write(contact: Json, out: Path | None) -> None:
    text = json.dumps(contact, ensure_ascii=False, indent=2)
    if out is None:
        print(text)
        return
    try:
        file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CannotGoOn(f"{out} cannot be made: {error.strerror}") from error
    with os.fdopen(file, "w", encoding="utf-8") as stream:
        stream.write(text + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=called("scripts.contact"), description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    exporting = commands.add_parser(
        "export",
        help="export everything stored about a contact, without copies of media (kept for a day)",
    )
    erasing = commands.add_parser("erase", help="erase all of it; cannot be undone")
    for command in (exporting, erasing):
        command.add_argument("instance", help="Evolution's name of the tenant's instance")
        command.add_argument("number", help="a phone number with its country code, or a JID")
    exporting.add_argument("--out", type=Path, metavar="FILE", help="a new file (stdout)")
    erasing.add_argument("--out", type=Path, metavar="FILE", help="export to a new file first")
    return parser


if __name__ == "__main__":
    sys.exit(main())
