"""The migration runner, its commands, and the one file to paste: all lead to the same schema."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from router.embedded.postgres import EmbeddedPostgres
from router.errors import DatabaseAway
from router.state.migrations import (
    MIGRATIONS,
    DatabaseNewerThanProgram,
    MigrationError,
    MigrationFailed,
    migrate,
    read_migrations,
)
from scripts.build_schema import check_file, migration_text, newest_file, schema_text
from tests.postgres import Databases, fleeting_folder
from tests.supabase import TestProject

pytestmark = pytest.mark.apart

PROJECT = Path(__file__).parents[2]
HISTORY = "select version, name, checksum from hybridflow.migrations order by 1"
WORDS = """\
create table if not exists words (word text primary key);
create or replace function count_words() returns bigint language sql as $$
    select count(*) from words;  -- a ; inside
$$;
"""
MORE = "alter table words add column if not exists spoken timestamptz;\n"


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A folder with two small migrations."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "20260101000000_words.sql").write_text(WORDS)
    (folder / "20260102000000_more_words.sql").write_text(MORE)
    return folder


@pytest.fixture
def other_database_url(databases: Databases) -> Iterator[str]:
    """A second empty database, to compare with."""
    dsn = databases.create()
    yield dsn
    databases.drop(dsn)


async def run(dsn: str, *sql: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return [await connection.fetch(statement) for statement in sql][-1]
    finally:
        await connection.close()


async def paste(dsn: str, text: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(text)
    finally:
        await connection.close()


def psql(server: EmbeddedPostgres, dsn: str, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [server.bin_folder / "psql", dsn, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file],
        capture_output=True,
        text=True,
        check=False,
    )


def schema_of(server: EmbeddedPostgres, dsn: str) -> str:
    """Return pg_dump's account of everything of ours but the rows, without its key of the day."""
    others = ("--exclude-schema=tests", "--exclude-schema=supabase_migrations")
    dumped = subprocess.run(
        [server.bin_folder / "pg_dump", "--schema-only", *others, dsn],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = dumped.stdout.splitlines()
    return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))


# Applying


async def test_migrations_are_applied_in_order_and_recorded_with_their_checksums(
    empty_database_url: str, samples: Path
):
    assert await migrate(empty_database_url, samples) == ["20260101000000", "20260102000000"]
    rows = await run(empty_database_url, HISTORY)
    assert [tuple(row) for row in rows] == [
        ("20260101000000", "words", hashlib.sha256(WORDS.encode()).hexdigest()),
        ("20260102000000", "more_words", hashlib.sha256(MORE.encode()).hexdigest()),
    ]


async def test_a_second_run_does_nothing(empty_database_url: str, samples: Path):
    await migrate(empty_database_url, samples)
    assert await migrate(empty_database_url, samples) == []


async def test_a_later_migration_upgrades_a_database_with_data_in_it(
    empty_database_url: str, samples: Path
):
    await migrate(empty_database_url, samples)
    await run(empty_database_url, "insert into words (word) values ('oi')")
    (samples / "20260103000000_loud.sql").write_text(
        "alter table words add column if not exists loud boolean not null default false;\n"
    )
    assert await migrate(empty_database_url, samples) == ["20260103000000"]
    (row,) = await run(empty_database_url, "select word, loud from words")
    assert tuple(row) == ("oi", False)


async def test_one_that_is_older_than_the_last_applied_but_missing_is_applied_too(
    empty_database_url: str, samples: Path
):
    await migrate(empty_database_url, samples)
    (samples / "20260101120000_between.sql").write_text("create table between_them ();\n")
    assert await migrate(empty_database_url, samples) == ["20260101120000"]


async def test_two_programs_that_migrate_at_one_moment_apply_each_file_once(
    empty_database_url: str, samples: Path
):
    holder = await asyncpg.connect(empty_database_url)
    await holder.execute("select pg_advisory_lock(7242953501834117)")
    programs = [asyncio.create_task(migrate(empty_database_url, samples)) for _ in range(2)]
    waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    async with asyncio.timeout(30):
        while await holder.fetchval(waiting) < 2:
            await holder.execute("select pg_sleep(0.01)")
    await holder.execute("select pg_advisory_unlock_all()")
    results = await asyncio.gather(*programs)
    await holder.close()
    assert sorted(results) == [[], ["20260101000000", "20260102000000"]]


async def test_postgrest_is_told_to_read_the_schema_again(empty_database_url: str, samples: Path):
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(empty_database_url)
    await listener.add_listener("pgrst", lambda *message: heard.put_nowait(message[3]))
    await migrate(empty_database_url, samples)
    async with asyncio.timeout(30):
        assert await heard.get() == "reload schema"
    await listener.close()


# Refusals


async def test_a_database_newer_than_the_program_is_refused_and_left_alone(
    empty_database_url: str, samples: Path
):
    await migrate(empty_database_url, samples)
    (samples / "20260102000000_more_words.sql").unlink()
    (samples / "20260101010000_late.sql").write_text("create table late ();\n")
    with pytest.raises(DatabaseNewerThanProgram, match=r"20260102000000.*Update HybridFlow"):
        await migrate(empty_database_url, samples)
    (row,) = await run(empty_database_url, "select to_regclass('late') is null as untouched")
    assert row["untouched"]


async def test_a_failing_migration_says_where_and_why_and_leaves_the_database_as_it_was(
    empty_database_url: str, samples: Path
):
    broken = samples / "20260103000000_broken.sql"
    broken.write_text("create table half_way ();\n\ninsert into words (wrd) values ('oi');\n")
    with pytest.raises(MigrationFailed) as failed:
        await migrate(empty_database_url, samples)
    said = str(failed.value)
    assert said.startswith("20260103000000_broken.sql:3: ")
    assert 'column "wrd" of relation "words" does not exist (42703)' in said
    (row,) = await run(
        empty_database_url,
        "select to_regclass('half_way') is null and to_regclass('words') is null as undone",
    )
    assert row["undone"]
    broken.write_text("create table half_way ();\n")
    assert len(await migrate(empty_database_url, samples)) == 3


async def test_a_user_without_the_right_is_told_whose_address_to_give(
    empty_database_url: str, samples: Path
):
    await run(
        empty_database_url,
        "drop role if exists visitor",
        "create role visitor login password 'visit'",
    )
    user = empty_database_url.split("@", maxsplit=1)
    with pytest.raises(MigrationFailed, match="give the URL of the database's owner"):
        await migrate(f"postgresql://visitor:visit@{user[1]}", samples)
    await run(empty_database_url, "drop role visitor")


async def test_a_server_that_is_not_there_is_a_database_that_is_away(samples: Path):
    with pytest.raises(DatabaseAway, match="cannot connect"):
        await migrate(f"postgresql://postgres@/postgres?host={samples}", samples)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("words.sql", "rename it"),
        ("20260102000000_again.sql", "has the same version"),
    ],
)
def test_a_file_that_cannot_be_told_apart_is_refused_by_name(samples: Path, name: str, cure: str):
    (samples / name).write_text("select 1;\n")
    with pytest.raises(MigrationError, match=cure):
        read_migrations(samples)


def test_a_folder_without_migrations_is_refused(tmp_path: Path):
    with pytest.raises(MigrationError, match="there are no migrations"):
        read_migrations(tmp_path)


# The project's own schema


async def test_the_schema_is_the_same_fresh_and_step_by_step(
    postgres: EmbeddedPostgres,
    template_url: str,
    empty_database_url: str,
    tmp_path: Path,
):
    folder = tmp_path / "migrations"
    folder.mkdir()
    for migration in read_migrations():
        shutil.copy(MIGRATIONS / migration.file_name, folder)
        assert await migrate(empty_database_url, folder) == [migration.version]
    assert schema_of(postgres, empty_database_url) == schema_of(postgres, template_url)


async def test_the_schema_is_the_same_pasted_or_run_by_psql(
    postgres: EmbeddedPostgres,
    template_url: str,
    empty_database_url: str,
    other_database_url: str,
    tmp_path: Path,
):
    file = tmp_path / "schema.sql"
    file.write_text(schema_text(read_migrations()))
    done = psql(postgres, empty_database_url, file)
    assert (done.returncode, done.stderr) == (0, "")
    await paste(other_database_url, file.read_text())
    migrated = schema_of(postgres, template_url)
    assert schema_of(postgres, empty_database_url) == migrated
    assert schema_of(postgres, other_database_url) == migrated
    assert await migrate(empty_database_url) == []
    assert [row["name"] for row in await run(empty_database_url, HISTORY)] == [
        migration.name for migration in read_migrations()
    ]


async def test_pasting_again_and_over_migrations_does_no_harm(
    postgres: EmbeddedPostgres, database_url: str, template_url: str
):
    await run(
        database_url,
        "insert into tenants (instance_name, evo_server_url) values ('shop', 'https://evo.test')",
    )
    for _ in range(2):
        await paste(database_url, schema_text(read_migrations()))
    assert schema_of(postgres, database_url) == schema_of(postgres, template_url)
    assert len(await run(database_url, "select from tenants")) == 1
    newest = read_migrations()[-1]
    assert (await run(database_url, HISTORY))[-1]["checksum"] == newest.checksum


async def test_every_migration_may_run_twice_without_harm(
    postgres: EmbeddedPostgres, database_url: str, template_url: str
):
    await run(database_url, "delete from hybridflow.migrations")
    assert len(await migrate(database_url)) == len(read_migrations())
    assert schema_of(postgres, database_url) == schema_of(postgres, template_url)


async def test_an_older_file_is_not_pasted_over_a_newer_database(
    empty_database_url: str, samples: Path
):
    await migrate(empty_database_url, samples)
    older = schema_text(read_migrations(samples)[:1], source=samples / "none")
    with pytest.raises(asyncpg.RaiseError, match="20260102000000, which is newer than this file"):
        await paste(empty_database_url, older)


def test_a_stale_schema_file_is_found_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "schema.sql"
    assert check_file(file, "new") == 1
    file.write_text("old")
    assert check_file(file, "new") == 1
    assert "run `make schema`" in capsys.readouterr().err
    file.write_text("new")
    assert check_file(file, "new") == 0


def test_what_is_made_from_the_living_source_is_up_to_date():
    assert newest_file().read_text() == migration_text(newest_file())


async def test_the_unreleased_migration_is_applied_again_when_its_text_has_changed(
    empty_database_url: str, samples: Path
):
    await migrate(empty_database_url, samples)
    newest = samples / "20260102000000_more_words.sql"
    newest.write_text(MORE + "alter table words add column if not exists loud boolean;\n")
    assert await migrate(empty_database_url, samples) == ["20260102000000"]
    assert await migrate(empty_database_url, samples) == []
    await run(empty_database_url, "select word, loud from words")


# The command


def command(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {"PATH": os.environ["PATH"]}
    path = os.pathsep.join([str(PROJECT), *sys.path])
    return subprocess.run(
        [sys.executable, "-m", "scripts.migrate"],
        cwd=folder,
        env={**kept, "PYTHONPATH": path, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_migrates_the_database_of_the_environment_and_says_so(
    empty_database_url: str, tmp_path: Path
):
    first = command(tmp_path, DATABASE_URL=empty_database_url)
    names = [migration.file_name for migration in read_migrations()]
    assert (first.returncode, first.stderr) == (0, "")
    assert [line.removeprefix("applied ") for line in first.stdout.splitlines()[1:]] == names
    again = command(tmp_path, DATABASE_URL=empty_database_url)
    assert "nothing to do" in again.stdout


def test_the_command_migrates_the_embedded_database_where_none_is_named():
    with fleeting_folder() as folder:
        done = command(folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"data in {folder}/.hybridflow/postgres" in done.stdout
        assert "nothing to do" in command(folder).stdout


def test_the_command_cannot_migrate_by_supabase_url_alone_and_says_what_can(tmp_path: Path):
    done = command(
        tmp_path,
        SUPABASE_URL="http://gone.invalid",
        SUPABASE_SERVICE_ROLE_KEY="sb_secret_x",
    )
    assert done.returncode == 1
    assert "neither paused nor deleted" in done.stderr
    assert "paste database/schema.sql" in done.stderr


def test_the_command_is_content_with_a_project_whose_schema_was_pasted(
    postgrest: TestProject, tmp_path: Path
):
    done = command(tmp_path, **postgrest.configuration)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Supabase at {postgrest.url}\nnothing to do" in done.stdout
