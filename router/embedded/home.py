"""The data folder and its layout."""

import logging
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from router.embedded.account import Account, account_for, can_enter, runs_as_root
from router.embedded.errors import EmbeddedPostgresError

SYSTEM_FOLDER = Path("/var/lib/hybridflow")

_CLUSTER = "cluster"
_MOVED = "moved-to"
_OURS = frozenset(
    {_CLUSTER, "cluster.new", "sockets", "password", "server.log", "server.log.1", "turn.lock"}
    | {"users.lock", _MOVED}
)
_SOCKET_PATH_BYTES = 103  # the smallest limit of any Unix (macOS; Linux allows 107)
_SOCKET_NAME_BYTES = len("/.s.PGSQL.5432")
_SHORT_FOLDER = "hybridflow-"
_SHORT_PARENT = "/tmp"  # nosec B108  # noqa: S108 - what is made there, mkdtemp makes
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Home:
    """An existing data folder that the server's account can reach.

    The folder, the password, the log and the locks belong to the user who runs HybridFlow. The
    cluster (PostgreSQL's data directory) and the sockets belong only to the server's account.
    """

    folder: Path
    account: Account | None

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.folder / _CLUSTER

    @property
    def sockets(self) -> Path:
        """The folder of the server's Unix socket, unless its path would be too long."""
        return self.folder / "sockets"

    @property
    def password(self) -> Path:
        """The file with the password of the server's superuser."""
        return self.folder / "password"

    @property
    def log(self) -> Path:
        """The server's log since it was last rotated."""
        return self.folder / "server.log"

    def lend(self, path: Path) -> None:
        """Make the server's account the owner of `path`."""
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    def keep(self, path: Path) -> None:
        """Close a file to other users; if root made it, give it to the owner of the data folder."""
        if runs_as_root():
            owner = self.folder.stat()
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        path.chmod(0o600)


def make_data_folder(folder: Path) -> None:
    """Make the data folder, for this user only, if it is missing; refuse one with other files."""
    _make(folder)
    try:
        others = sorted(path.name for path in folder.iterdir() if path.name not in _OURS)
    except PermissionError as error:
        raise _closed(folder) from error
    if others:
        raise EmbeddedPostgresError(
            f"the data folder {folder}",
            f"it holds files that are not HybridFlow's ({', '.join(others[:3])})",
            "Choose a folder of its own: HYBRIDFLOW_DATA names the one above it",
        )
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise _closed(folder)


def open_home(asked: Path, system_folder: Path = SYSTEM_FOLDER) -> Home:
    """Return where the data is: in the data folder `asked`, if the server's account can reach it.

    If HybridFlow runs as root and the data folder is in a place that is closed to others (such as
    /root), the data is in a folder below `system_folder`. The file `moved-to` in the data folder
    names that folder. Permissions outside of the data folder are never changed.
    """
    if not runs_as_root():
        return _own_home(asked)
    moved = asked / _MOVED
    place = Path(moved.read_text().strip()) if moved.exists() else asked
    if not place.is_dir():
        raise EmbeddedPostgresError(
            f"the data folder {asked}",
            f"its data is in {place}, as {moved} says, and that is gone",
            f"Bring it back, or delete {moved} to begin with an empty database",
        )
    home = _lent_home(place)
    if can_enter(home.account, place):
        if place != asked:
            _log.info("the data of %s is kept in %s", asked, place)
        return home
    if moved.exists() or home.cluster.exists():
        raise EmbeddedPostgresError(
            f"the data folder {place}",
            f"the user {_name(home)}, who runs PostgreSQL for root, cannot reach it any more",
            "Open the folders above it to that user (chmod o+x), or move it elsewhere",
        )
    return _moved_home(asked, system_folder)


def socket_folder(home: Home) -> Path:
    """Return the folder for the server's socket: one in /tmp if the path of ours is too long.

    A path with a comma is not used either: PostgreSQL would read it as a list of folders.
    """
    room = _SOCKET_PATH_BYTES - _SOCKET_NAME_BYTES
    if len(os.fsencode(home.sockets)) <= room and "," not in str(home.sockets):
        return home.sockets
    short = Path(tempfile.mkdtemp(prefix=_SHORT_FOLDER, dir=_SHORT_PARENT))
    home.lend(short)
    return short


def clear_socket_folder(folder: Path) -> None:
    """Remove the folder in /tmp that `socket_folder` made; leave any other folder."""
    if folder.name.startswith(_SHORT_FOLDER) and folder.parent == Path(_SHORT_PARENT):
        shutil.rmtree(folder, ignore_errors=True)


def _make(folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EmbeddedPostgresError(
            f"the data folder {folder}",
            f"it cannot be made ({error.strerror})",
            "Set HYBRIDFLOW_DATA to a folder that you may write to",
        ) from error


def _own_home(folder: Path) -> Home:
    home = Home(folder, None)
    if (folder / _MOVED).exists():
        raise _closed(folder)
    home.sockets.mkdir(mode=0o700, exist_ok=True)
    return home


def _closed(folder: Path) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"the data folder {folder}",
        "it was made by another user, probably root",
        "Run HybridFlow as that user again, or set HYBRIDFLOW_DATA to another folder",
    )


def _lent_home(folder: Path) -> Home:
    home = Home(folder, account_for(folder / _CLUSTER))
    if home.account and folder.stat().st_uid != home.account.uid:
        os.chown(folder, -1, home.account.gid)
        folder.chmod(0o710)
    home.sockets.mkdir(mode=0o700, exist_ok=True)
    home.lend(home.sockets)
    return home


def _moved_home(asked: Path, system_folder: Path) -> Home:
    place = system_folder / f"{asked.name}-{secrets.token_hex(4)}"
    system_folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    _make(place)
    home = _lent_home(place)
    if not can_enter(home.account, place):
        shutil.rmtree(place)
        raise EmbeddedPostgresError(
            f"the data folder {asked}",
            f"the user {_name(home)}, who runs PostgreSQL for root, can reach neither it"
            f" nor {system_folder}",
            "Set HYBRIDFLOW_DATA to a folder that is not closed to others, such as /srv/hybridflow",
        )
    (asked / _MOVED).write_text(f"{place}\n")
    _log.info(
        "%s is closed to the user %s, who runs PostgreSQL for root: its data is kept in %s",
        asked,
        _name(home),
        place,
    )
    return home


def _name(home: Home) -> str:
    return home.account.name if home.account else "of this process"
