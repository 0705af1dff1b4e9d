"""The schema put over an earlier one with rows in it: whatever changed, it is as a fresh one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import MIGRATIONS, MigrationFailed, migrate, read_migrations
from scripts.build_schema import SOURCE, schema_text, write
from scripts.function_headers import HeaderNotUnderstood, headers_in
from tests.postgres import Databases
from tests.state.test_migrations import paste, run, schema_of

pytestmark = pytest.mark.apart

OUR_FUNCTIONS = """
    select oid, proname from pg_proc
    where pronamespace = 'hybridflow'::regnamespace order by proname
"""
OUR_TABLES = """
    select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace
"""
# Each is a change that `create or replace` refuses, or makes a second function of.
BEFORE = """
create or replace function hybridflow.sample_result(p_a bigint)
returns bigint language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_name(p_a bigint)
returns bigint language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_type(p_a bigint)
returns bigint language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_more(p_a bigint)
returns bigint language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_default(p_a bigint default 1)
returns bigint language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_set(p_a bigint)
returns setof bigint language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_table(p_a bigint)
returns table (a bigint) language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_out(p_a bigint, out b bigint)
language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_called(p_a bigint)
returns bigint language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_gone(p_a bigint)
returns bigint language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_trigger()
returns trigger language plpgsql set search_path = '' as $$ begin return new; end $$;
create or replace trigger sample before insert on public.spending
for each row execute function hybridflow.sample_trigger();
"""
AFTER = """
create or replace function hybridflow.sample_result(p_a bigint)
returns text language sql set search_path = '' as $$ select p_a::text $$;
create or replace function hybridflow.sample_name(p_b bigint)
returns bigint language sql set search_path = '' as $$ select p_b $$;
create or replace function hybridflow.sample_type(p_a integer)
returns bigint language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_more(p_a bigint, p_b bigint)
returns bigint language sql set search_path = '' as $$ select p_a + p_b $$;
create or replace function hybridflow.sample_default(p_a bigint)
returns bigint language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_set(p_a bigint)
returns bigint language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_table(p_a bigint)
returns table (a bigint, b text) language sql set search_path = '' as $$ select p_a, 'b' $$;
create or replace function hybridflow.sample_out(p_a bigint, out c bigint)
language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_named(p_a bigint)
returns bigint language sql set search_path = '' as $$ select p_a $$;
create or replace function hybridflow.sample_triggered()
returns trigger language plpgsql set search_path = '' as $$ begin return new; end $$;
create or replace trigger sample before insert on public.spending
for each row execute function hybridflow.sample_triggered();
"""
# It stands in the policies of every table that members read.
USED_BY_POLICIES = ("my_tenants(p_needs text", "my_tenants(p_role text")
IN_ITS_BODY = (
    "hybridflow.my_user_id() and hybridflow.reaches(m.role, p_needs)",
    "hybridflow.my_user_id() and hybridflow.reaches(m.role, p_role)",
)
ROWS = """
    insert into tenants (instance_name, evo_server_url) values ('shop', 'https://evo.test');
    insert into spending (tenant_id, day) select id, current_date from tenants;
"""


class House:
    """A copy of the project's database folder, whose living source may be changed."""

    def __init__(self, folder: Path) -> None:
        self.source, self.migrations = folder / "schema", folder / "supabase" / "migrations"
        shutil.copytree(SOURCE, self.source)
        shutil.copytree(MIGRATIONS, self.migrations)
        self.schema = folder / "schema.sql"

    def say(self, extra: str) -> None:
        (self.source / "0846_samples.sql").write_text(extra)
        write(self.migrations, self.source, self.schema)

    def replace(self, old: str, new: str) -> None:
        for file in self.source.glob("*.sql"):
            file.write_text(file.read_text().replace(old, new))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def fresh_url(databases: Databases) -> Iterator[str]:
    dsn = databases.create()
    yield dsn
    databases.drop(dsn)


@pytest.mark.parametrize("pasted", [True, False])
async def test_changes_that_create_or_replace_refuses_are_made_over_rows(
    postgres: EmbeddedPostgres,
    empty_database_url: str,
    fresh_url: str,
    house: House,
    pasted: bool,
):
    house.say(BEFORE)
    await migrate(empty_database_url, house.migrations)
    await paste(empty_database_url, ROWS)
    first = schema_of(postgres, empty_database_url)

    house.replace(*USED_BY_POLICIES)
    house.replace(*IN_ITS_BODY)
    house.say(AFTER)
    await migrate(fresh_url, house.migrations)
    for _ in range(2):
        if pasted:
            await paste(empty_database_url, house.schema.read_text())
        assert len(await migrate(empty_database_url, house.migrations)) in (0, 1)
        assert schema_of(postgres, empty_database_url) == schema_of(postgres, fresh_url)
    assert len(await run(empty_database_url, "select from spending join tenants on true")) == 1

    house.replace(*reversed(IN_ITS_BODY))
    house.replace(*reversed(USED_BY_POLICIES))
    house.say(BEFORE)
    await paste(empty_database_url, house.schema.read_text())
    assert schema_of(postgres, empty_database_url) == first


async def test_what_somebody_else_made_with_a_function_of_ours_is_not_dropped_with_it(
    empty_database_url: str, house: House
):
    house.say(BEFORE)
    await migrate(empty_database_url, house.migrations)
    await paste(
        empty_database_url,
        "create table theirs (tenant_id bigint); alter table theirs enable row level security;"
        " create policy their_policy on theirs using (hybridflow.sample_result(tenant_id) > 0)",
    )
    house.say(AFTER)
    with pytest.raises(MigrationFailed, match="policy their_policy on table theirs depends on"):
        await migrate(empty_database_url, house.migrations)


async def test_what_the_source_says_of_each_function_is_what_the_catalogue_has(database_url: str):
    """So nothing gives way where nothing changed."""
    headers = headers_in("\n".join(file.read_text() for file in sorted(SOURCE.glob("*.sql"))))
    in_catalogue = await run(database_url, OUR_FUNCTIONS)
    assert sorted(header.name for header in headers) == [row["proname"] for row in in_catalogue]
    await paste(database_url, schema_text(read_migrations()))
    after = await run(database_url, OUR_FUNCTIONS)
    assert after == in_catalogue


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("create or replace function hybridflow.f(bigint)\nreturns text\n", "give its argument"),
        ("create or replace function hybridflow.f(p_a text\n", "a bracket has no end"),
    ],
)
def test_a_header_that_is_not_understood_is_named(source: str, said: str):
    with pytest.raises(HeaderNotUnderstood, match=said):
        headers_in(source)


# Names that somebody else has


@pytest.mark.parametrize(
    ("name", "making"),
    [
        ("tenants", "create table tenants (id uuid primary key, name text)"),
        ("sessions", "create table sessions (id uuid, tenant_id bigint, is_paused boolean)"),
        ("messages", "create view messages as select 1 as id"),
        ("memberships", "create table memberships (tenant_id bigint, user_id uuid, role text)"),
        ("audit_log", "create table audit_log (id bigint, at timestamptz, action text)"),
    ],
)
async def test_a_table_of_somebody_elses_with_one_of_our_names_is_told_and_left_alone(
    postgres: EmbeddedPostgres, empty_database_url: str, name: str, making: str
):
    await run(empty_database_url, making)
    with pytest.raises(
        MigrationFailed,
        match=rf"something else has: public\.{name} \(not.*\n.*of its own, or rename",
    ):
        await migrate(empty_database_url)
    before = schema_of(postgres, empty_database_url)
    with pytest.raises(asyncpg.RaiseError, match=f"public.{name}"):
        await paste(empty_database_url, schema_text(read_migrations()))
    assert schema_of(postgres, empty_database_url) == before


async def test_every_table_that_we_make_is_among_the_names_that_must_be_free(database_url: str):
    tables = await run(database_url, OUR_TABLES)
    text = (SOURCE / "0005_names.sql").read_text()
    assert {row["relname"] for row in tables if f"('{row['relname']}', array[" not in text} == set()
