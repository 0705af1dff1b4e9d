"""The database that the configuration names is the one that is opened."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from router.configuration.settings import ConfigurationError, Settings, load_settings
from router.errors import DatabaseAway
from router.state.opening import open_database
from tests.postgres import make_outdated
from tests.state.conversation import Conversation
from tests.supabase import TestProject

TENANT = {"instance_name": "shop", "evo_server_url": "https://evolution.example"}


def configured(**variables: str) -> Settings:
    return load_settings(variables, env_file=None)


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """A folder that also an unprivileged server can reach when the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="hybridflow-opening-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def test_a_database_url_is_taken_as_it_is(database_url: str):
    async with open_database(configured(DATABASE_URL=database_url)) as database:
        assert (await database.call("check_database", {}))["tenants"] == 0


async def test_a_schema_that_is_not_there_is_said_with_the_command(empty_database_url: str):
    async with open_database(configured(DATABASE_URL=empty_database_url)) as database:
        with pytest.raises(DatabaseAway, match=r"python -m scripts\.migrate"):
            await database.call("check_database", {})


@pytest.mark.spoils
async def test_a_program_that_the_schema_serves_no_more_refuses_to_start(
    database_url: str, postgrest: TestProject
):
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "create or replace function public.check_database(p jsonb) returns jsonb language sql"
        " stable set search_path = '' as"
        """ $$ select '{"schema_version": 1000, "serves_from": 999, "tenants": 0}'::jsonb $$"""
    )
    await connection.close()
    for variables in ({"DATABASE_URL": database_url}, postgrest.configuration):
        with pytest.raises(ConfigurationError, match=r"from 999 on.*restore the\s+backup"):
            async with open_database(configured(**variables)):
                pass


@pytest.mark.apart
async def test_without_any_address_the_embedded_server_keeps_the_data(data_folder: Path):
    settings = configured(HYBRIDFLOW_DATA=str(data_folder))
    async with open_database(settings) as database:
        await database.call("create_tenant", {"values": TENANT})
        async with open_database(settings) as beside:
            assert (await beside.call("check_database", {}))["tenants"] == 1
    async with open_database(settings) as database:
        assert (await database.call("get_tenant", {"tenant_id": 1}))["tenant"]["id"] == 1


async def test_supabases_keys_alone_are_enough(postgrest: TestProject):
    async with open_database(configured(**postgrest.configuration)) as database:
        assert (await database.call("check_database", {}))["tenants"] == 0
    assert postgrest.calls == ["check_database", "check_database"]


async def test_the_direct_address_wins_over_supabases(database_url: str, postgrest: TestProject):
    settings = configured(**postgrest.configuration | {"DATABASE_URL": database_url})
    async with open_database(settings) as database:
        await Conversation(database).open_shop()
    assert postgrest.calls == []


async def test_a_database_that_is_away_keeps_nobody_from_starting():
    settings = configured(
        SUPABASE_URL="http://gone.invalid", SUPABASE_SERVICE_ROLE_KEY="sb_secret_made_up"
    )
    async with open_database(settings) as database:
        with pytest.raises(DatabaseAway, match="neither paused nor deleted"):
            await database.call("check_database", {})


@pytest.mark.spoils
async def test_an_outdated_schema_is_told_at_the_start(
    database_url: str, caplog: pytest.LogCaptureFixture
):
    await make_outdated(database_url)
    async with open_database(configured(DATABASE_URL=database_url)):
        assert "outdated" in caplog.text
        assert "apply database/schema.sql" in caplog.text
