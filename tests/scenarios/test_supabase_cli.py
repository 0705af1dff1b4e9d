"""The schema as Supabase's own command line sees it: advisors, migrations, types."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate, read_migrations
from tests.postgres import FLEETING, Databases, fleeting_folder
from tests.state import old_release
from tests.state.test_migrations import schema_of
from tests.supabase_cli import SupabaseCli, supabase_cli

pytestmark = pytest.mark.n8n  # for its npm

WORKDIR = ("--workdir", "database")


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """The command line takes no Unix socket."""
    with (
        fleeting_folder() as folder,
        EmbeddedPostgres(folder / "postgres", listen_tcp=True, settings=FLEETING) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def own_databases(server: EmbeddedPostgres) -> Iterator[Databases]:
    with Databases(server.dsn) as databases:
        yield databases


@pytest.fixture(scope="module")
def migrated_url(own_databases: Databases) -> str:
    """The schema as it is on Supabase: with the roles of PostgREST, and nothing of the tests."""
    dsn = own_databases.create()
    own_databases.wait(migrate(dsn))
    return dsn


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> SupabaseCli:
    return supabase_cli(tmp_path_factory.mktemp("home"))


def advise(cli: SupabaseCli, url: str) -> tuple[int, str]:
    advice = ("--type", "all", "--level", "warn", "--fail-on", "warn")
    done = cli.run("db", "advisors", f"--remote={url}", *advice)
    return done.returncode, done.stdout + done.stderr


def test_supabases_advisors_have_nothing_to_warn_of(cli: SupabaseCli, migrated_url: str):
    code, said = advise(cli, migrated_url)
    assert code == 0, said


def test_they_would_have(cli: SupabaseCli, own_databases: Databases, migrated_url: str):
    """An open table, an open function: what the test above would miss if it looked elsewhere."""
    url = own_databases.create(template=migrated_url)
    asyncio.run(
        execute(
            url,
            "create table public.forgotten (id bigint primary key);"
            "grant select on public.forgotten to anon;"
            "create function public.loose() returns void language sql as 'select'",
        )
    )
    code, said = advise(cli, url)
    own_databases.drop(url)
    assert code == 1
    assert "forgotten" in said
    assert "loose" in said


def test_the_command_lines_push_and_the_programs_migrate_are_one(
    cli: SupabaseCli, server: EmbeddedPostgres, own_databases: Databases, migrated_url: str
):
    url = own_databases.create()
    done = cli.run(*WORKDIR, "db", "push", f"--remote={url}", "--yes")
    assert done.returncode == 0, done.stderr
    assert asyncio.run(migrate(url)) == []
    assert schema_of(server, url) == schema_of(server, migrated_url)
    own_databases.drop(url)


def pushed_from(cli: SupabaseCli, folder: Path, url: str) -> str:
    """Push the migrations of a repository, and return what was said."""
    done = cli.run("--workdir", str(folder), "db", "push", f"--remote={url}", "--yes")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_another_teams_push_and_our_migrations_are_not_in_each_others_way(
    cli: SupabaseCli, own_databases: Databases, tmp_path: Path
):
    url = own_databases.create()
    folder = tmp_path / "supabase" / "migrations"
    folder.mkdir(parents=True)
    (folder / "20990101000000_profiles.sql").write_text("create table profiles (id bigint);\n")
    pushed_from(cli, tmp_path, url)
    assert asyncio.run(migrate(url)) == [m.version for m in read_migrations()]
    (folder / "20990102000000_more.sql").write_text("alter table profiles add name text;\n")
    assert "20990102000000" in pushed_from(cli, tmp_path, url)
    assert asyncio.run(migrate(url)) == []
    own_databases.drop(url)


def test_a_project_to_which_the_command_line_pushed_0_1_0_is_migrated_and_pushed_on(
    cli: SupabaseCli, own_databases: Databases, tmp_path: Path
):
    url = own_databases.create()
    shutil.copytree(old_release.FOLDER / "migrations", tmp_path / "supabase" / "migrations")
    pushed_from(cli, tmp_path, url)
    assert asyncio.run(migrate(url)) == [m.version for m in read_migrations()]
    listed = cli.run(*WORKDIR, "migration", "list", f"--remote={url}")
    for migration in read_migrations():
        assert listed.stdout.count(migration.version) >= 2, migration  # local and remote
    again = cli.run(*WORKDIR, "db", "push", f"--remote={url}", "--yes")
    assert again.returncode == 0, again.stderr
    assert "Applying" not in again.stdout + again.stderr
    own_databases.drop(url)


def test_types_for_a_typescript_front_end(cli: SupabaseCli, migrated_url: str, tmp_path: Path):
    done = cli.run("gen", "types", f"--remote={migrated_url}", "--schema", "public")
    assert done.returncode == 0, done.stderr
    assert "export type Database" in done.stdout
    for name in ("sessions", "messages", "is_paused", "last_message_at", "from_me"):
        assert f'"{name}"' in done.stdout


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
