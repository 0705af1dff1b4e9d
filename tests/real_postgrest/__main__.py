"""Install it, before the tests ask for it: `python -m tests.real_postgrest`."""

import sys

from scripts.n8n.installation import InstallationFailed
from tests.npm import NotInstalled
from tests.real_postgrest import WITHOUT, install_program

try:
    program = install_program()
except (InstallationFailed, NotInstalled) as error:
    sys.exit(
        f"{error}\nOnce it is installed, no network is needed. `make test N8N=0` does without."
    )
print(f"PostgREST is {program}" if program else f"No PostgREST for this machine: {WITHOUT}")  # noqa: T201 - a command
