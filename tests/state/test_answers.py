"""What the database answers instead of doing what was asked: the same over either transport."""

import logging
import traceback

import pytest

from router.errors import (
    Conflict,
    DatabaseAway,
    DatabaseFault,
    DatabaseTooSlow,
    Invalid,
    NotAllowed,
    NotFound,
    UnknownCaller,
)
from router.state.calls.health import DatabaseChecked, check_database
from router.state.database import Database
from router.state.schema_version import SCHEMA_VERSION, schema_advice, schema_fault
from tests.state.conversation import Conversation
from tests.state.transports import RestDatabase

pytestmark = pytest.mark.both

OBJECTS = """
    create function public.object(p jsonb) returns jsonb language plpgsql as $$
    begin
        raise exception using errcode = p ->> 'code', message = 'so it is',
            detail = 'Failing row contains (Maria''s words).', hint = 'Look at Maria''s words.';
    end $$;
    create sequence public.tries;
    create function public.collide(p jsonb) returns jsonb language plpgsql as $$
    begin
        if nextval('public.tries') < (p ->> 'times')::bigint then
            raise exception 'deadlock detected' using errcode = '40P01';
        end if;
        return '{}';
    end $$;
    create function public.known(p jsonb) returns jsonb language sql as $$ select p $$;
    grant usage on sequence public.tries to service_role;
    notify pgrst, 'reload schema';
"""


@pytest.fixture
async def objecting(talk: Conversation) -> Database:
    """A database with a function that raises what it is told to, and one that collides."""
    async with talk.database._pool.acquire() as connection:
        await connection.execute(OBJECTS)
    if isinstance(talk.database, RestDatabase):
        await talk.database.project.knows("known", p={})
    return talk.database


@pytest.mark.spoils
@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("PT401", UnknownCaller),
        ("PT403", NotAllowed),
        ("PT404", NotFound),
        ("PT409", Conflict),
        ("PT422", Invalid),
    ],
)
async def test_what_our_functions_raise_means_the_same_over_either_transport(
    objecting: Database, code: str, error: type[Exception]
):
    with pytest.raises(error) as raised:
        await objecting.call("object", {"code": code})
    assert type(raised.value) is error
    assert str(raised.value) == "so it is"


@pytest.mark.spoils
@pytest.mark.parametrize(
    ("code", "error", "is_logged"),
    [
        ("22003", Invalid, False),
        ("22P02", Invalid, False),
        ("22012", Invalid, False),
        ("53300", DatabaseAway, True),
        ("57014", DatabaseTooSlow, True),
        ("42501", DatabaseAway, True),
        ("42P01", DatabaseAway, True),
    ],
)
async def test_what_the_database_says_is_never_answered_and_logged_without_a_rows_content(
    objecting: Database,
    caplog: pytest.LogCaptureFixture,
    code: str,
    error: type[Exception],
    is_logged: bool,
):
    with caplog.at_level(logging.DEBUG), pytest.raises(error) as raised:
        await objecting.call("object", {"code": code})
    assert type(raised.value) is error
    assert "so it is" not in str(raised.value)
    assert ("so it is" in caplog.text) == is_logged
    assert "Maria" not in caplog.text + told_of(raised.value)


@pytest.mark.spoils
@pytest.mark.parametrize(
    ("code", "says"), [("P0001", False), ("XX000", False), ("23505", True), ("23514", True)]
)
async def test_a_fault_of_the_program_is_not_dressed_up_and_shows_no_row(
    objecting: Database, code: str, says: bool
):
    with pytest.raises(DatabaseFault, match=code) as raised:
        await objecting.call("object", {"code": code})
    assert ("so it is" in str(raised.value)) == says
    assert "Maria" not in told_of(raised.value)


def told_of(error: BaseException) -> str:
    """What a log line with the error and its traceback would hold."""
    return "".join(traceback.format_exception(error))


@pytest.mark.spoils
async def test_a_real_rows_content_is_in_no_error(
    talk: Conversation, caplog: pytest.LogCaptureFixture
):
    async with talk.database._pool.acquire() as connection:
        await connection.execute(
            "alter table tenants add constraint no_words check (system_prompt <> 'Maria''s words')"
        )
    argument = {"tenant_id": 1, "values": {"system_prompt": "Maria's words"}}
    with caplog.at_level(logging.DEBUG), pytest.raises(Exception) as raised:  # noqa: PT011
        await talk.database.call("change_tenant", argument)
    assert "words" not in (caplog.text + told_of(raised.value)).replace("no_words", "")


@pytest.mark.spoils
async def test_a_deadlock_is_tried_again(objecting: Database):
    assert await objecting.call("collide", {"times": 3}) == {}


async def test_no_function_raises_what_postgrest_would_repeat_for_ever(talk: Conversation):
    """40001, and from PostgREST 14 on 40P01: the call would be carried out again without end."""
    raising = await talk.sql(
        "select p.oid::regproc::text as name from pg_proc as p"
        " join pg_namespace as n on n.oid = p.pronamespace"
        " where n.nspname in ('public', 'hybridflow')"
        " and p.prosrc ~* 'errcode *= *''40|raise +(serialization_failure|deadlock_detected)'"
    )
    assert raising == []


@pytest.mark.parametrize("text", ["nul \x00", "half \ud83d a pair", "\udc00"])
async def test_text_that_cannot_be_stored_is_invalid_and_not_repeated_in_the_error(
    talk: Conversation, text: str
):
    with pytest.raises(Invalid, match="leave it out") as raised:
        await talk.database.call(
            "change_tenant", {"tenant_id": 1, "values": {"system_prompt": f"secret {text}"}}
        )
    assert "secret" not in str(raised.value)


async def test_the_schema_says_the_version_that_the_program_was_written_for(database: Database):
    checked = await check_database(database)
    assert checked.schema_version == SCHEMA_VERSION
    assert (schema_fault(checked), schema_advice(checked)) == (None, None)


@pytest.mark.parametrize("answer", [{}, {"schema_version": SCHEMA_VERSION - 1}])
def test_an_outdated_schema_is_a_fault_with_its_cure(answer: dict[str, object]):
    fault = schema_fault(DatabaseChecked.model_validate(answer))
    assert fault is not None
    assert "outdated" in fault
    assert "apply database/schema.sql" in fault
    assert "python -m scripts.migrate" in fault


def test_a_newer_schema_works_and_is_told():
    checked = DatabaseChecked(schema_version=SCHEMA_VERSION + 1)
    assert schema_fault(checked) is None
    assert "update HybridFlow" in (schema_advice(checked) or "")


def test_a_newer_schema_that_serves_this_program_no_more_is_a_fault_with_its_cure():
    version = SCHEMA_VERSION + 2
    fault = schema_fault(DatabaseChecked(schema_version=version, serves_from=SCHEMA_VERSION + 1))
    assert fault is not None
    assert f"serves programs from {SCHEMA_VERSION + 1} on" in fault
    assert "update HybridFlow, or restore the backup" in fault
    checked = DatabaseChecked(schema_version=version, serves_from=SCHEMA_VERSION)
    assert schema_fault(checked) is None


@pytest.mark.spoils
async def test_a_database_without_the_schema_says_how_to_apply_it(talk: Conversation):
    async with talk.database._pool.acquire() as connection:
        await connection.execute("drop function public.list_tenants; notify pgrst")
    with pytest.raises(DatabaseAway, match=r"apply database/schema\.sql"):
        await talk.database.call("list_tenants", {})
