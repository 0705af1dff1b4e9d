"""Every command under one name: `hybridflow COMMAND …`, or `python -m scripts COMMAND …`.

Each command is also a module: `hybridflow tenant list` is `python -m scripts.tenant list`.
`hybridflow --help` reads only the list below, so that it answers at once.
"""

import runpy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from router import __version__


@dataclass(frozen=True, slots=True)
class Command:
    """A command, with its purpose in one line."""

    module: str
    about: str


def _scripts(**abouts: str) -> dict[str, Command]:
    return {
        name.replace("_", "-"): Command(f"scripts.{name}", about) for name, about in abouts.items()
    }


GROUPS: Mapping[str, Mapping[str, Command]] = {
    "run it": _scripts(
        serve="start HybridFlow on this machine: schema, secrets, router (--n8n: and n8n)",
        demo="play a whole conversation, with WhatsApp and the LLM simulated; needs no account",
        migrate="bring the database to this version's schema",
        n8n="install, start and fill an n8n for the router",
    ),
    "run it on a platform, after migrate": {
        "router": Command("router.serving", "serve; changes no schema and makes no secrets"),
    },
    "businesses and people": _scripts(
        tenant="add, list, change and connect tenants; their webhook secrets",
        operators="keys of the API, members of tenants, the audit log",
        contact="export or erase everything stored about one contact",
    ),
    "now and then": _scripts(
        turn="show a turn's life, or why a message got no answer",
        auto_resume="end every expired pause (every 15 minutes)",
        prune="archive or delete expired data (once a night)",
        catch_up="fetch from Evolution what no webhook has brought",
        rotate_secrets="encrypt the tenants' keys again, after SECRETS_KEY was set or changed",
    ),
    "for developers, in a checkout": _scripts(
        build_schema="write what is made from database/schema/; freeze a release",
        audit="look for known weaknesses in the installed libraries",
    ),
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
_USAGE = """\
usage: hybridflow COMMAND [ARGUMENT ...]
       hybridflow COMMAND --help
       hybridflow --version
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named command. Returns the exit code; most commands exit by themselves."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(listing())
        return 0
    if given[0] == "--version":
        print(f"hybridflow {__version__}")
        return 0
    return _run(given[0].replace("_", "-"), given[1:])


def listing() -> str:
    """Return the list for `hybridflow --help`: each command with its line."""
    width = max(len(name) for name in COMMANDS)
    parts = [_USAGE]
    for title, group in GROUPS.items():
        lines = (f"  {name:{width}}  {command.about}" for name, command in group.items())
        parts.append("\n".join([f"{title}:", *lines]) + "\n")
    return "\n".join(parts).rstrip()


def _run(name: str, arguments: Sequence[str]) -> int:
    command = COMMANDS.get(name)
    if command is None:
        sys.stderr.write(
            f"hybridflow has no command {name!r}: hybridflow --help lists the commands\n"
        )
        return 2
    sys.argv = [f"hybridflow {name}", *arguments]
    runpy.run_module(command.module, run_name="__main__")
    return 0
