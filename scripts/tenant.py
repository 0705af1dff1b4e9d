"""Tenants from the command line: `python -m scripts.tenant add|list|set|connect|…`.

It works on the configured database through the same SQL functions as the REST API. Exit code 0:
done; 1: not done, with the reason and the fix on stderr; 2: the command was not understood.
"""

import argparse
import getpass
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from router.configuration.declaring import Declared, Form, named
from router.configuration.settings import Settings
from router.configuration.tenant_settings import SETTINGS
from router.errors import Invalid
from router.safety.patterns import BadPattern, check_patterns
from router.state.calls.tenants import GetTenant, ListTenants, Tenant, get_tenant, list_tenants
from router.state.database import Database
from router.state.pages import all_items
from router.tenants import saving
from router.tenants.sealing import KEY_COLUMNS
from scripts.connecting import Connection, connect
from scripts.operators import as_script
from scripts.running import CannotGoOn, called, run, this_python
from scripts.tenant_secrets import add_commands, new_secret, retire_secret, show_secrets

_ASK = "-"
_WITH_VALUES = ("add", "set")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    given = _parse(arguments)

    async def work(settings: Settings, state: Database) -> int:
        database = as_script(state)
        match given.command:
            case "add":
                return await add(settings, database, given)
            case "set":
                return await change(settings, database, given)
            case "connect":
                wanted = Connection(given.name, given.url, given.timeout, rotate=given.rotate)
                return await connect(settings, database, wanted)
            case "secrets":
                return await show_secrets(database, given.name)
            case "new-secret":
                return await new_secret(database, given.name, given.retire_others)
            case "retire-secret":
                return await retire_secret(database, given.name, given.id, given.after)
            case _:
                return await show(database)

    return run(work)


async def add(settings: Settings, database: Database, given: argparse.Namespace) -> int:
    """Create a tenant."""
    values = {
        "instance_name": given.name,
        "evo_server_url": given.server,
        **_values(given),
    }
    if given.key is not None:
        values["evo_api_key"] = _key(given.key, "evo_api_key")
    created = await saving.create_tenant(database, settings, values)
    print(f"Tenant {created.id} has the instance {created.instance_name}.")
    url = " --url https://where-evolution-reaches-the-router" if settings.public_url is None else ""
    print(f"Next: {this_python()} -m scripts.tenant connect {created.instance_name}{url}")
    return 0


async def change(settings: Settings, database: Database, given: argparse.Namespace) -> int:
    """Change the given values of a tenant."""
    values = _values(given)
    tenant = (await get_tenant(database, GetTenant(instance_name=given.name))).tenant
    changed = (await saving.change_tenant(database, settings, tenant.id, values)).model_dump()
    for name in sorted(values):
        if name in KEY_COLUMNS:
            print(f"{name} is {'set' if changed[f'{name}_set'] else 'not set'}")
        else:
            print(f"{name} = {_shown(changed[name])!r}")
    return 0


async def show(database: Database) -> int:
    """List every tenant."""
    rows: list[tuple[str, ...]] = [
        ("ID", "INSTANCE", "EVOLUTION", "KEY", "LLM", "ACTIVE", "CONNECTION")
    ]
    rows += [_row(tenant) async for tenant in all_items(list_tenants, database, ListTenants())]
    if len(rows) == 1:
        print(
            f"There is no tenant yet: {this_python()} -m scripts.tenant add NAME"
            " --server URL --key KEY"
        )
        return 0
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    return 0


def _shown(value: object) -> object:
    """Return a value as a user would give it: a list, a number without a needless point."""
    match value:
        case tuple():
            return list(value)
        case float() if value.is_integer():
            return int(value)
    return value


def _row(tenant: Tenant) -> tuple[str, ...]:
    model = f"/{tenant.llm_model}" if tenant.llm_model else ""
    return (
        str(tenant.id),
        tenant.instance_name,
        tenant.evo_server_url,
        "own" if tenant.evo_api_key_set else "default",
        f"{tenant.llm_provider}{model}",
        "yes" if tenant.is_active else "no",
        tenant.connection_state or "not known",
    )


def values_of(pairs: Sequence[str], settings: Sequence[Declared] = SETTINGS) -> dict[str, object]:
    """Return the values of `name=value` pairs; `name=` removes a value.

    A text, lines or JSON can be read from a file with `name=@file`; lines are one item per line.
    Names are separated by commas.

    Raises Invalid. The database checks whether a tenant has such a setting.
    """
    declared = {each.name: each for each in settings}
    values: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise Invalid(f"{pair!r} is not name=value")
        values[name] = _value(declared.get(name), text)
    return values


def _value(setting: Declared | None, text: str) -> object:
    if setting is None or not setting.is_list:
        if setting is not None and setting.form == "text" and text.startswith("@"):
            return _read(Path(text[1:]), setting.name)
        if setting is not None and setting.form == "json":
            return _json(setting.name, text)
        return text or None
    if setting.form == "lines":
        texts = _lines(setting.name, text)
    else:
        texts = [name.strip() for name in text.split(",") if name.strip()]
    if setting.name == "forbidden_patterns":
        texts = _patterns(texts)
    return None if setting.nullable and not texts else texts


def _values(given: argparse.Namespace) -> dict[str, object]:
    """Return the values of the pairs and the options together."""
    values = _with_keys(values_of(given.values))
    if given.prompt is not None:
        values["system_prompt"] = given.prompt or None
    if given.prompt_file is not None:
        values["system_prompt"] = _read(given.prompt_file, "the prompt") or None
    return values


def _lines(name: str, text: str) -> list[str]:
    """Return the text as one item, or each line of an @file; an empty text removes the list."""
    lines = _read(Path(text[1:]), name).splitlines() if text.startswith("@") else [text]
    return [line for line in lines if line]


def _json(name: str, text: str) -> object:
    """Return the JSON value of the text or of an @file; an empty text removes the value."""
    written = _read(Path(text[1:]), name) if text.startswith("@") else text
    try:
        return json.loads(written) if written else None
    except ValueError as error:
        raise Invalid(f"{name} is not JSON: {error}") from None


def _patterns(patterns: list[str]) -> list[str]:
    try:
        return check_patterns(patterns)
    except BadPattern as error:
        raise Invalid(str(error)) from None


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotGoOn(f"cannot read {what} from {path}: {error}") from None


def _with_keys(values: dict[str, object]) -> dict[str, object]:
    """Return the values; keys given as `-` are asked for."""
    keys = {
        column: _key(str(values[column]), column)
        for column in KEY_COLUMNS
        if values.get(column) is not None
    }
    return {**values, **keys}


def _key(text: str, column: str) -> str:
    """Return the given key, or ask for it, so that it is not in the shell's history."""
    return getpass.getpass(f"{column}: ") if text == _ASK else text


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    given, more = parser.parse_known_args(arguments)
    # argparse accepts values only before the options; here they may also come after.
    if more and (given.command not in _WITH_VALUES or any(text.startswith("-") for text in more)):
        parser.error(f"not understood: {' '.join(more)}")
    if given.command in _WITH_VALUES:
        given.values += more
        _check_values(parser, given)
    return given


def _check_values(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    has_prompt = given.prompt is not None or given.prompt_file is not None
    if has_prompt and any(pair.startswith("system_prompt=") for pair in given.values):
        parser.error("the prompt is given twice")
    if given.command == "set" and not has_prompt and not given.values:
        parser.error("nothing to set: give name=value, --prompt or --prompt-file")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=called("scripts.tenant"), description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    adding = commands.add_parser("add", help="create a tenant")
    adding.add_argument("name", help="Evolution's name of the instance")
    adding.add_argument("--server", required=True, metavar="URL", help="where Evolution runs")
    adding.add_argument(
        "--key", help="Evolution's API key; - asks for it; without: EVOLUTION_API_KEY"
    )
    adding.add_argument(
        "values", nargs="*", metavar="name=value", help="such as llm_provider=openai"
    )
    _add_prompt(adding)

    commands.add_parser("list", help="list the tenants")

    setting = commands.add_parser("set", help="change values of a tenant")
    setting.add_argument("name", help="Evolution's name of the instance")
    setting.add_argument(
        "values",
        nargs="*",
        metavar="name=value",
        help=f"name= restores the default; {_each(('text', 'json'), '=@file')} reads it;"
        f" {_each(('key',), '=-')} asks for it. There are"
        f" {', '.join(sorted(each.name for each in SETTINGS))}",
    )
    _add_prompt(setting)

    connecting = commands.add_parser("connect", help="set the webhook and connect the phone")
    connecting.add_argument("name", help="Evolution's name of the instance")
    connecting.add_argument("--url", help="where Evolution reaches this router (else PUBLIC_URL)")
    connecting.add_argument(
        "--timeout",
        type=float,
        default=120,
        metavar="SECONDS",
        help="how long to wait for the phone (default: 120)",
    )
    connecting.add_argument(
        "--rotate", action="store_true", help="make a new webhook secret for the tenant"
    )
    add_commands(commands)
    return parser


def _each(forms: Sequence[Form], given: str) -> str:
    return " or ".join(f"{name}{given}" for name in named(SETTINGS, *forms))


def _add_prompt(command: argparse.ArgumentParser) -> None:
    prompt = command.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", metavar="TEXT", help="the AI's instructions (system_prompt)")
    prompt.add_argument("--prompt-file", type=Path, metavar="FILE", help="read them from a file")


if __name__ == "__main__":
    sys.exit(main())
