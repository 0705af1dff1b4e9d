"""What another schema than this program's gives out for work is not asked for."""

import asyncio
from collections.abc import Iterable, Mapping

import pytest

from router.errors import DatabaseAway, DatabaseFault, DatabaseTooSlow
from router.state.database import Json
from router.state.opening import wait_for_schema
from router.state.schema_version import SCHEMA_VERSION

OURS: Json = {"schema_version": SCHEMA_VERSION, "serves_from": 1}
OUTDATED: Json = {"schema_version": SCHEMA_VERSION - 1}
BEFORE_THERE_WERE_VERSIONS: Json = {"tenants": 0}
TOO_NEW: Json = {"schema_version": SCHEMA_VERSION + 2, "serves_from": SCHEMA_VERSION + 1}
NEWER: Json = {"schema_version": SCHEMA_VERSION + 1, "serves_from": SCHEMA_VERSION}


class Told:
    """A state that answers one after the other."""

    def __init__(self, answers: Iterable[Json | Exception]) -> None:
        self.left = list(answers)

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        assert (function, argument) == ("check_database", {})
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def looks(*answers: Json | Exception) -> int:
    """How often it looks until it returns."""
    told = Told(answers)
    async with asyncio.timeout(5):
        await wait_for_schema(told, pause=0)
    return len(answers) - len(told.left)


@pytest.mark.parametrize("other", [OUTDATED, BEFORE_THERE_WERE_VERSIONS, TOO_NEW])
async def test_another_schema_is_waited_out_and_told_once(
    other: Json, caplog: pytest.LogCaptureFixture
):
    assert await looks(other, other, other, OURS) == 4
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("no turn is answered and no notice is told until then")


@pytest.mark.parametrize("ours", [OURS, NEWER])
async def test_a_schema_that_serves_keeps_nothing_up(ours: Json, caplog: pytest.LogCaptureFixture):
    assert await looks(ours, OUTDATED) == 1
    assert caplog.records == []


async def test_a_database_that_does_not_answer_is_waited_for(caplog: pytest.LogCaptureFixture):
    """It may be in the midst of a migration, or come back as an old one."""
    away, slow = DatabaseAway("away"), DatabaseTooSlow("too slow")
    assert await looks(away, away, slow, OUTDATED, slow, OURS, OUTDATED) == 6
    lines = [record.getMessage() for record in caplog.records]
    assert ["away" in line for line in lines] == [True, False, False, False]
    assert ["too slow" in line for line in lines] == [False, True, False, True]


@pytest.mark.parametrize(
    "error",
    [
        # A role's lock_timeout ends a call that waits for a migration.
        DatabaseFault("check_database: the database refused it: SQLSTATE 55P03"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),  # a proxy's answer
    ],
)
async def test_whatever_the_look_fails_with_nothing_is_claimed_before_one_that_succeeds(
    error: Exception, caplog: pytest.LogCaptureFixture
):
    assert await looks(error, error, OUTDATED, error, OURS, OUTDATED) == 5
    lines = [record.getMessage() for record in caplog.records]
    assert ["is not known" in line for line in lines] == [True, False, True]
