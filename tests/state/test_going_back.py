"""The guide's way back, played: dump, migrate, fail, restore, the router of before on either."""

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from router.embedded.postgres import EmbeddedPostgres
from router.state.direct import DirectDatabase
from router.state.migrations import (
    MIGRATIONS,
    DatabaseNewerThanProgram,
    MigrationFailed,
    migrate,
    read_migrations,
)
from tests.postgres import Databases
from tests.state.conversation import Conversation
from tests.state.old_release import FOLDER, make_old
from tests.state.test_migrations import run, schema_of
from tests.state.test_upgrade import counts

pytestmark = pytest.mark.apart

_NUMBERS = itertools.count(1)
GUIDE = (Path(__file__).parents[2] / "DEPLOYMENT.md").read_text()


def commands() -> list[str]:
    """What the guide has its reader type, in its order."""
    chapter = GUIDE.split("\n## Going back\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", chapter, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def restored_url(databases: Databases, empty_database_url: str) -> Iterator[str]:
    """Where the guide's `create database` makes its own."""
    url = urlunsplit(urlsplit(empty_database_url)._replace(path="/before_the_upgrade"))
    yield url
    databases.run("drop database if exists before_the_upgrade with (force)")


async def test_dump_migrate_fail_restore_and_roll_back(
    postgres: EmbeddedPostgres, empty_database_url: str, restored_url: str, tmp_path: Path
):
    url = empty_database_url
    dump, create, restore = commands()

    def types(command: str) -> None:
        subprocess.run(
            command,
            shell=True,
            check=True,
            cwd=tmp_path,
            env={
                "PATH": f"{postgres.bin_folder}{os.pathsep}{os.environ['PATH']}",
                "DATABASE_URL": url,
                "RESTORED_URL": restored_url,
            },
        )

    await make_old(url)
    before, rows = schema_of(postgres, url), await counts(url)
    types(dump)

    # A migration fails: all of it, or nothing.
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    newest = max(folder.glob("*.sql"))
    good = newest.read_text()
    newest.write_text(good + "\nselect 1 / 0;\n")
    with pytest.raises(MigrationFailed, match=rf"{newest.name}.*division by zero"):
        await migrate(url, folder)
    assert without_history(schema_of(postgres, url)) == without_history(before)
    assert await counts(url) == rows
    await works_as_0_1_0_did(url)

    # It is cured, and the router of before still works; its own migrations do not touch it.
    newest.write_text(good)
    assert await migrate(url, folder) == [m.version for m in read_migrations(folder)]
    upgraded = schema_of(postgres, url)
    with pytest.raises(DatabaseNewerThanProgram, match=newest.name[:14]):
        await migrate(url, FOLDER / "migrations")
    assert schema_of(postgres, url) == upgraded
    await works_as_0_1_0_did(url)

    # The data goes back, too.
    types(create)
    types(restore)
    assert schema_of(postgres, restored_url) == before
    assert await counts(restored_url) == rows
    await works_as_0_1_0_did(restored_url)
    assert await migrate(restored_url) != []
    assert schema_of(postgres, restored_url) == upgraded


def without_history(schema: str) -> str:
    """Leave out the (empty) account of migrations, which is made before the first."""
    parts = re.split(r"(?m)^--\n-- Name: ", schema)
    own = ("migrations", "TABLE migrations")
    return "".join(part for part in parts if not part.startswith(own))


async def works_as_0_1_0_did(url: str) -> None:
    """Record a message and claim its turn, as a router of 0.1.0 asks for it."""
    jid = "5511955550077@s.whatsapp.net"
    database = await DirectDatabase.connect(url, size=1)
    try:
        talk = Conversation(database, "padaria")
        await talk.maria_writes("oi", jids=[jid], wa_id=f"ACOLD{next(_NUMBERS)}")
        await talk.travel(seconds=60)
        claimed = await talk.database.call(
            "claim_turns",
            {
                "worker": "old",
                "limit": 9,
                "lease_seconds": 60,
                "max_attempts": 5,
                "history_limit": 9,
            },
        )
        assert jid in [known for turn in claimed["turns"] for known in turn["session"]["jids"]]
    finally:
        await database.close()
    await run(url, "delete from sessions where phone_jid like '5511955550077%'")


async def test_the_guides_statement_lets_another_team_push(empty_database_url: str):
    await make_old(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(
        "insert into supabase_migrations.schema_migrations (version, name)"
        " values ('20990101000000', 'their_profiles')"
    )
    await migrate(empty_database_url)
    (statement,) = re.findall(r"```sql\n(delete from supabase_migr.*?)```", GUIDE, re.DOTALL)
    await connection.execute(statement)
    left = await connection.fetch("select version from supabase_migrations.schema_migrations")
    await connection.close()
    assert [row["version"] for row in left] == ["20990101000000"]
    assert await migrate(empty_database_url) == []
