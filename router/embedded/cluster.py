"""The cluster: PostgreSQL's own data directory. One major version makes it, once."""

import os
import secrets
import shutil
from pathlib import Path

from router.embedded.account import run, runs_as_root
from router.embedded.binaries import OVERRIDE, Binaries
from router.embedded.errors import EmbeddedPostgresError
from router.embedded.home import Home

SUPERUSER = "postgres"
_OWN_LOCALES = 17  # the first PostgreSQL with its own locales, the same on every machine

# Written to postgresql.conf, so that `alter system` can override them. Sized for a small machine.
_SETTINGS = {
    "max_connections": "100",
    "max_wal_size": "512MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_error_verbosity": "terse",  # a DETAIL would write rows, and so messages, to the log
    "log_min_error_statement": "panic",  # and so would a failed statement
    "max_logical_replication_workers": "0",
    "jit": "off",
}


def make_cluster(home: Home, binaries: Binaries) -> bool:
    """Make the cluster if there is none. Returns whether it was made.

    Passwords use SCRAM, pages have checksums, and text is UTF-8 and sorted by code point on every
    machine. An interrupted attempt leaves nothing that counts as a cluster. Raises
    EmbeddedPostgresError if there is a cluster that these programs, or this user, cannot run.
    """
    if home.cluster.exists():
        _check_version(home, binaries)
        _check_owner(home)
        return False
    unfinished = home.cluster.with_name("cluster.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    home.lend(unfinished)
    handed_over = home.sockets / "password"
    handed_over.unlink(missing_ok=True)
    _write_secret(handed_over, _make_password(home))
    home.lend(handed_over)
    try:
        code, printed = run(_initdb(binaries, unfinished, handed_over), home.account)
    finally:
        handed_over.unlink()
    if code != 0:
        raise EmbeddedPostgresError(
            f"the data folder {home.folder}",
            f"initdb of PostgreSQL {binaries.version} could not make a cluster in it",
            "Its own words are below; most often the disk is full, or this user has no name in"
            " /etc/passwd",
            printed,
        )
    with (unfinished / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in _SETTINGS.items())
    unfinished.rename(home.cluster)
    return True


def read_password(home: Home) -> str:
    """Return the superuser's password, which was made together with the cluster."""
    try:
        return home.password.read_text().strip()
    except OSError as error:
        raise EmbeddedPostgresError(
            f"the password file {home.password}",
            f"it cannot be read ({error.strerror}), and the data cannot be opened without it",
            "Bring the file back, and see that you may read it",
        ) from error


def _initdb(binaries: Binaries, folder: Path, password: Path) -> list[str | Path]:
    # Before 17, only the system's C.UTF-8 knows the upper and lower case of all letters.
    if int(binaries.major) >= _OWN_LOCALES:
        letters: tuple[str, ...] = ("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8")
    else:
        letters = ("--lc-ctype", "C.UTF-8")
    return [
        binaries.program("initdb"),
        *("--pgdata", folder, "--username", SUPERUSER, "--pwfile", password),
        *("--auth", "scram-sha-256", "--data-checksums", "--no-instructions"),
        *("--encoding", "UTF8", "--locale", "C"),
        *letters,
    ]


def _make_password(home: Home) -> str:
    """Return the password of an earlier attempt, or a new one; it is stored before it is used."""
    if not home.password.exists():
        _write_secret(home.password, secrets.token_urlsafe(24))
        home.keep(home.password)
    return read_password(home)


def _write_secret(path: Path, secret: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")


def _check_version(home: Home, binaries: Binaries) -> None:
    try:
        made_by = (home.cluster / "PG_VERSION").read_text().strip()
    except OSError as error:
        raise EmbeddedPostgresError(
            f"the data folder {home.folder}",
            f"its cluster is damaged: PG_VERSION cannot be read ({error.strerror})",
            "Bring back a backup, or move the folder away to begin with an empty database",
        ) from error
    if made_by != binaries.major:
        raise EmbeddedPostgresError(
            f"the data folder {home.folder}",
            f"PostgreSQL {made_by} made it, and PostgreSQL {binaries.version} is here, which cannot"
            " read it",
            f"Set {OVERRIDE} to the bin folder of a PostgreSQL {made_by}, or dump the data with"
            " that one's pg_dump, move the folder away, and load the dump into a new one",
        )


def _check_owner(home: Home) -> None:
    if home.account is None and not runs_as_root() and not os.access(home.cluster, os.W_OK):
        raise EmbeddedPostgresError(
            f"the data folder {home.folder}",
            "its cluster belongs to another user",
            "Run HybridFlow as the user who made it, or set HYBRIDFLOW_DATA to another folder",
        )
    if home.account is not None and home.cluster.stat().st_uid != home.account.uid:
        raise EmbeddedPostgresError(
            f"the data folder {home.folder}",
            f"its cluster belongs to root, and PostgreSQL runs as {home.account.name}",
            f"Give it to that user: chown -R {home.account.name} {home.cluster}",
        )
