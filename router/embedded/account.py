"""Which user the server runs as. PostgreSQL refuses to run as root, so root uses another user."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from router.embedded.errors import EmbeddedPostgresError

_UNPRIVILEGED = "nobody"
_COMMAND_SECONDS = 300  # initdb on a slow disk
# The variables that a server inherits: none is secret, and none changes how it works.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "TMP")


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged user of this machine; root starts the server as this user."""

    name: str
    uid: int
    gid: int


def runs_as_root() -> bool:
    """Whether this process runs as root; never on Windows."""
    return sys.platform != "win32" and os.geteuid() == 0


def account_for(cluster: Path) -> Account | None:
    """Return the account that runs the server on `cluster`; None: this process's own user.

    An existing cluster keeps its owner, so root and a user may use one folder in turns.
    """
    if sys.platform == "win32" or not runs_as_root():
        return None
    import pwd  # noqa: PLC0415 - Unix only

    try:
        owner = cluster.stat().st_uid if cluster.exists() else 0
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam(_UNPRIVILEGED)
    except KeyError as error:
        raise EmbeddedPostgresError(
            "the user to run PostgreSQL as",
            f"root may not run it, and there is no other user for it here ({error.args[0]})",
            "Run HybridFlow as an ordinary user, or set DATABASE_URL to a server of your own",
        ) from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def launch(
    command: Sequence[str | Path], account: Account | None, *, output: int | IO[bytes]
) -> "subprocess.Popen[bytes]":
    """Start `command` as `account`, with `output` for both of its streams and no input.

    Raises PermissionError if that user cannot reach the program.
    """
    return subprocess.Popen(  # noqa: S603 - commands are lists, made in this package
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=Path(sys.executable).anchor,
        env=_environment(),
        **_identity(account),
    )


def run(command: Sequence[str | Path], account: Account | None) -> tuple[int, str]:
    """Run `command` as `account` to its end. Returns its exit code and all that it printed."""
    with launch(command, account, output=subprocess.PIPE) as process:
        try:
            printed, _ = process.communicate(timeout=_COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, printed.decode(errors="replace")


def can_enter(account: Account | None, folder: Path) -> bool:
    """Whether `account` can reach `folder`. This is tried: the modes alone do not show it."""
    if account is None:
        return os.access(folder, os.X_OK)
    try:
        code, _ = run(["/bin/sh", "-c", 'cd -- "$1"', "sh", folder], account)
    except OSError as error:
        raise EmbeddedPostgresError(
            f"the user {account.name} to run PostgreSQL as",
            f"this root cannot become another user ({error.strerror})",
            "Run HybridFlow as an ordinary user, or set DATABASE_URL to a server of your own",
        ) from error
    return code == 0


def _identity(account: Account | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _environment() -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed_on | {"LC_ALL": "C"}
