"""What asyncpg raises when the server goes away in the middle means one thing: it is away."""

import asyncio
import traceback
from typing import Any

import asyncpg
import pytest

from router.errors import DatabaseAway
from router.state.address import Address
from router.state.direct import DirectDatabase
from tests.for_each import for_each

ADDRESS = Address.of("postgresql://nobody@127.0.0.1:9/none")


class FailingPool:
    """A pool whose every query ends so."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def get_max_size(self) -> int:
        return 10

    async def fetchval(self, *_: object) -> Any:
        raise self._error


def told(code: str, severity: str = "ERROR") -> asyncpg.PostgresError:
    said = {"C": code, "S": severity, "V": severity, "M": "duplicate key", "D": "Key (Maria) is"}
    error: asyncpg.PostgresError = asyncpg.PostgresError.new(said | {"H": "Ask Maria."})
    return error


def fatal(code: str, severity: str = "FATAL") -> asyncpg.PostgresError:
    said = {"C": code, "S": severity, "V": severity, "M": "the server closes the connection"}
    error: asyncpg.PostgresError = asyncpg.PostgresError.new(said)
    return error


async def outcome(error: BaseException) -> BaseException:
    database = DirectDatabase(FailingPool(error), ADDRESS)  # type: ignore[arg-type]
    try:
        await database.call("claim_turns", {})
    except Exception as raised:  # noqa: BLE001 - which it is, is the question
        return raised
    raise AssertionError("it raised nothing")


@for_each(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 12; another operation is in progress"),
        asyncpg.ProtocolError("unexpected message"),
        asyncpg.OutdatedSchemaCacheError("the schema cache is out of date"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.CrashShutdownError("terminating connection"),
        asyncpg.InvalidPasswordError("password authentication failed"),
        asyncpg.InvalidCatalogNameError("the database does not exist"),
        asyncpg.ReadOnlySQLTransactionError("cannot execute UPDATE in a read-only transaction"),
        asyncpg.PostgresIOError("could not read block"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        fatal("XX000"),
        fatal("XX000", "PANIC"),
        ConnectionResetError("reset by peer"),
        ConnectionRefusedError("refused"),
        BrokenPipeError("broken pipe"),
        asyncio.IncompleteReadError(b"", 1),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_server_that_went_away_is_a_database_that_is_away(error: BaseException) -> None:
    assert isinstance(await outcome(error), DatabaseAway)


@pytest.mark.parametrize(
    "error", [asyncpg.DivisionByZeroError("/ 0"), fatal("XX000", "ERROR"), KeyError("a bug")]
)
async def test_a_fault_of_the_program_is_not_taken_for_one(error: BaseException) -> None:
    assert not isinstance(await outcome(error), DatabaseAway)


@pytest.mark.parametrize("severity", ["ERROR", "FATAL"])
@pytest.mark.parametrize("code", ["23505", "23514", "22P02", "57014", "42501", "26000", "XX000"])
async def test_no_error_has_the_detail_or_the_hint(
    code: str, severity: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A traceback prints what an error was raised from, too."""
    raised = await outcome(told(code, severity))
    assert "Maria" not in "".join(traceback.format_exception(raised)) + caplog.text


async def test_while_it_is_away_the_log_says_why_once(caplog: pytest.LogCaptureFixture) -> None:
    failing: Any = FailingPool(ConnectionRefusedError("[Errno 111] at 10.0.0.7"))
    database = DirectDatabase(failing, ADDRESS)
    for _ in range(50):
        with pytest.raises(DatabaseAway) as raised:
            await database.call("claim_turns", {})
        assert "10.0.0.7" not in str(raised.value)
    assert caplog.text.count("10.0.0.7") == 1
