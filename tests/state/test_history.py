"""HybridFlow's own history: another team's migrations are none of it, and it is none of theirs."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import pytest

from router.embedded.postgres import EmbeddedPostgres
from router.state.history import read_lock
from router.state.migrations import (
    LOCK_FILE,
    MIGRATIONS,
    DatabaseNewerThanProgram,
    MigrationChanged,
    MigrationError,
    lacking,
    migrate,
    read_migrations,
)
from scripts import build_schema
from scripts.build_schema import begin, freeze, newest_file, schema_text, write
from tests.postgres import Databases, migrated
from tests.state import old_release
from tests.state.test_migrations import schema_of

pytestmark = pytest.mark.apart

THEIRS = [("20990101000000", "their_profiles"), ("20200101000000", "their_first")]
WORDS = "create table if not exists words (word text primary key);\n"
MORE = "alter table words add column if not exists spoken timestamptz;\n"


async def run(dsn: str, *sql: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return [await connection.fetch(statement) for statement in sql][-1]
    finally:
        await connection.close()


async def paste(dsn: str, text: str | None = None) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(text or schema_text(read_migrations()))
    finally:
        await connection.close()


async def push(dsn: str, entries: Sequence[tuple[str, str]]) -> None:
    """Note migrations as the supabase CLI does, which splits a file into its statements."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(old_release.HISTORY)
        for version, name in entries:
            await old_release.note(connection, version, name, ["select 1", "select 2"])
    finally:
        await connection.close()


async def known_to_the_cli(dsn: str) -> list[tuple[str, str]]:
    sql = "select version, name from supabase_migrations.schema_migrations order by version"
    return [(row["version"], row["name"]) for row in await run(dsn, sql)]


async def own(dsn: str) -> list[tuple[str, str | None]]:
    sql = "select version, checksum from hybridflow.migrations order by version"
    return [(row["version"], row["checksum"]) for row in await run(dsn, sql)]


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "20260101000000_words.sql").write_text(WORDS)
    (folder / "20260102000000_more_words.sql").write_text(MORE)
    return folder


def release(folder: Path, *names: str) -> None:
    """Freeze files, as `sha256sum` does."""
    lines = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder.parent / LOCK_FILE).write_text("".join(lines))


# Beside other teams


async def test_another_teams_migrations_are_not_in_the_way_nor_ours_in_theirs(
    empty_database_url: str,
):
    await push(empty_database_url, THEIRS)
    assert await migrate(empty_database_url) == [m.version for m in read_migrations()]
    await paste(empty_database_url)
    assert await migrate(empty_database_url) == []
    # Their `supabase db push` looks for each of these among their files.
    assert await known_to_the_cli(empty_database_url) == sorted(THEIRS)


async def test_a_fresh_database_gets_no_history_of_the_clis(database_url: str):
    await paste(database_url)
    (row,) = await run(database_url, "select to_regnamespace('supabase_migrations') as it")
    assert row["it"] is None


async def test_an_entry_of_theirs_with_one_of_our_versions_is_theirs(empty_database_url: str):
    ours = [migration.version for migration in read_migrations()]
    await push(empty_database_url, [(ours[-1], "their_words")])
    assert await migrate(empty_database_url) == ours
    assert await known_to_the_cli(empty_database_url) == [(ours[-1], "their_words")]


async def test_what_the_cli_pushed_is_known_and_kept_in_step(
    empty_database_url: str, samples: Path
):
    await push(empty_database_url, [("20260101000000", "words"), *THEIRS])
    await paste(empty_database_url, WORDS)
    assert await migrate(empty_database_url, samples) == ["20260102000000"]
    assert [version for version, _ in await own(empty_database_url)] == [
        "20260101000000", "20260102000000",
    ]  # fmt: skip
    assert await known_to_the_cli(empty_database_url) == sorted(
        [("20260101000000", "words"), ("20260102000000", "more_words"), *THEIRS]
    )
    assert await migrate(empty_database_url, samples) == []


@pytest.mark.parametrize("pasted", [False, True])
async def test_the_history_of_0_1_0_gives_way_and_keeps_its_program_out(
    empty_database_url: str, pasted: bool
):
    await old_release.make_old(empty_database_url)
    await push(empty_database_url, THEIRS[1:])
    if pasted:
        await paste(empty_database_url)
    else:
        assert await migrate(empty_database_url) == [m.version for m in read_migrations()]
    assert await migrate(empty_database_url) == []
    known = await known_to_the_cli(empty_database_url)
    assert known == [THEIRS[1], *((m.version, m.name) for m in read_migrations())]
    assert max(known)[0] > "20261123000910"  # which is how 0.1.0 tells, and refuses


async def test_where_0_1_0_came_over_us_its_functions_give_way_again(
    postgres: EmbeddedPostgres, database_url: str, template_url: str
):
    """It finds no entry in a database that we made, and applies its files over ours."""
    connection = await asyncpg.connect(database_url)
    await old_release.migrate_as_0_1_0(connection)
    await connection.close()
    assert schema_of(postgres, database_url) != schema_of(postgres, template_url)
    assert await migrate(database_url) == [read_migrations()[-1].version]
    assert await migrate(database_url) == []
    assert schema_of(postgres, database_url) == schema_of(postgres, template_url)


async def test_a_later_version_that_the_cli_pushed_is_known_to_an_earlier_program(
    empty_database_url: str, samples: Path, tmp_path: Path
):
    """The CLI writes into its own history alone, so the file notes itself in ours."""
    later = tmp_path / "29990101000000_v9_0_0.sql"
    await paste(empty_database_url, build_schema.migration_text(later))
    assert await own(empty_database_url) == [("29990101000000", None)]
    with pytest.raises(DatabaseNewerThanProgram, match="29990101000000"):
        await migrate(empty_database_url, samples)


# What was released is frozen


def test_no_released_file_has_changed():
    """Not even one that nobody applies any more: databases were made by it."""
    for folder in (MIGRATIONS, old_release.FOLDER / "migrations"):
        lock = read_lock(folder.parent / LOCK_FILE)
        found = {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*")
        }
        assert {name: found.get(name) for name in lock} == lock
        assert len(found.keys() - lock.keys()) <= (folder == MIGRATIONS)  # the newest, perhaps
    assert len(lock) == 23


def test_a_released_file_with_another_text_is_refused_by_name(samples: Path):
    release(samples, "20260101000000_words.sql")
    read_migrations(samples)
    (samples / "20260101000000_words.sql").write_text(WORDS + "\n")
    with pytest.raises(MigrationChanged, match=r"20260101000000_words\.sql was released with"):
        read_migrations(samples)


@pytest.mark.parametrize("last_too", [False, True])
async def test_a_database_with_another_text_of_a_released_file_is_refused_with_words(
    empty_database_url: str, samples: Path, last_too: bool
):
    await migrate(empty_database_url, samples)
    name = "20260102000000_more_words.sql" if last_too else "20260101000000_words.sql"
    (samples / name).write_text("select 1;\n")
    release(samples, name)
    (samples / "20260103000000_late.sql").write_text("create table late ();\n")
    with pytest.raises(MigrationChanged, match=rf"{name}: another text.*Use the HybridFlow that"):
        await migrate(empty_database_url, samples)
    (row,) = await run(empty_database_url, "select to_regclass('late') is null as untouched")
    assert row["untouched"]


def test_where_the_text_is_not_known_nothing_is_said_of_it(samples: Path):
    release(samples, "20260101000000_words.sql", "20260102000000_more_words.sql")
    applied = {"20260101000000": None, "20260102000000": None}
    assert lacking(applied, read_migrations(samples)) == ()


@pytest.mark.parametrize("version", ["20260101000060", "20260101006000", "20261301000000"])
def test_a_version_that_is_no_time_is_refused(samples: Path, version: str):
    (samples / f"{version}_late.sql").write_text("select 1;\n")
    with pytest.raises(MigrationError, match="its version is not a time"):
        read_migrations(samples)


# Releasing


@pytest.fixture
def house(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A small project: its migrations, its living source and its schema.sql."""
    folder, source = tmp_path / "supabase" / "migrations", tmp_path / "schema"
    folder.mkdir(parents=True)
    source.mkdir()
    (folder / "20260101000000_v0_1_0.sql").touch()
    (source / "0100_words.sql").write_text(WORDS)
    return folder, source, tmp_path / "schema.sql"


async def test_a_release_is_frozen_and_the_next_begins_with_a_file_of_its_own(
    house: tuple[Path, Path, Path], empty_database_url: str
):
    folder, source, schema = house
    with pytest.raises(MigrationError, match="is not released yet"):
        begin("0.2.0", folder)
    write(*house)
    freeze(folder)
    with pytest.raises(MigrationError, match="released already"):
        freeze(folder)
    assert await migrate(empty_database_url, folder) == ["20260101000000"]
    released = newest_file(folder).read_text()
    write(*house)

    (source / "0200_more.sql").write_text(MORE)
    with pytest.raises(MigrationError, match="begin the next release's"):
        write(*house)
    assert newest_file(folder).read_text() == released

    later = begin("0.2.0", folder)
    write(*house)
    assert "-- HybridFlow 0.2.0: " in later.read_text()
    assert (folder / "20260101000000_v0_1_0.sql").read_text() == released
    assert await migrate(empty_database_url, folder) == [later.name[:14]]
    await paste(empty_database_url, schema.read_text())
    assert await migrate(empty_database_url, folder) == []
    freeze(folder)
    with pytest.raises(MigrationError, match=r"write it like 0\.3\.0"):
        begin("three", folder)


def test_the_tests_of_one_release_can_be_run_on_the_schema_of_a_later_one(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    later = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, later)
    (later / "29990101000000_v9_0_0.sql").write_text("create table hybridflow.later ();\n")
    monkeypatch.setenv("SCHEMA_UNDER_TEST", str(later))
    dsn = migrated(databases)
    assert [version for version, _ in databases.wait(own(dsn))][-1] == "29990101000000"
    databases.drop(dsn)
