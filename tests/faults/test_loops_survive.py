"""Whatever the state raises, no loop of the router ends: once it is well, all work again."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest

from router import workers
from router.app import create_app
from router.configuration.settings import Settings, load_settings
from router.intake import gap_repairs
from router.n8n import executions
from router.state.database import Database, Json
from router.state.opening import open_database
from tests.routers import environment, running_router
from tests.scenarios.stage import set_stage

FINISH = ("gap repair of all", "loading", "schema")  # what is not for ever
# What each loop asks the state for first.
LOOPS = ("claim_turns", "claim_notices", "claim_executions_to_erase", "gaps_by_activity")


class Ill:
    """A database whose every call raises, until it is well; the fourth look at its schema does not.

    `claimed_unseen` is what was claimed before anybody knew its schema.
    """

    connections = 10

    def __init__(self, database: Database, error: Callable[[], BaseException]) -> None:
        self._database = database
        self._error = error
        self.is_ill = True
        self.asked: Counter[str] = Counter()
        self.is_known = False
        self.claimed_unseen: list[str] = []
        self.changed = asyncio.Condition()

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        async with self.changed:
            self.asked[function] += 1
            self.changed.notify_all()
        if function.startswith("claim_") and not self.is_known:
            self.claimed_unseen.append(function)
        if function == "check_database" and self.asked[function] > 3:
            self.is_known = True
        elif self.is_ill:
            raise self._error()
        return await self._database.call(function, argument)

    async def was_asked_by_all(self, times: int) -> None:
        async with self.changed, asyncio.timeout(60):
            await self.changed.wait_for(lambda: all(self.asked[f] >= times for f in LOOPS))


def of_the_router(tasks: set["asyncio.Task[object]"]) -> set["asyncio.Task[object]"]:
    """The router's own, told by where their code stands."""
    codes = {task: getattr(task.get_coro(), "cr_code", None) for task in tasks}
    # A look at an account ends when it has seen it.
    return {
        task
        for task, code in codes.items()
        if code and "/router/" in code.co_filename and not task.get_name().startswith("look at ")
    }


@pytest.mark.parametrize(
    "error",
    [
        lambda: ZeroDivisionError("a bug"),
        lambda: asyncpg.InternalClientError("cannot switch to state 12"),
        asyncio.CancelledError,  # of something beneath; nobody cancels the loop
    ],
    ids=["a bug", "asyncpg's own", "cancelled beneath"],
)
async def test_every_task_made_at_the_start_outlives_a_database_that_is_ill(
    database_url: str, evolution, llm, monkeypatch: pytest.MonkeyPatch, error
):
    ill: list[Ill] = []

    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[Database]:
        async with open_database(settings) as database:
            ill.append(Ill(database, error))
            yield ill[0]

    monkeypatch.setattr(workers, "open_database", opened)
    monkeypatch.setattr(gap_repairs.GapRepairs.__init__, "__kwdefaults__", {"retry_delays": (0.1,)})
    monkeypatch.setattr(executions, "_PAUSE_AFTER_FAILURE", 0.1)
    others = asyncio.all_tasks()
    env = environment(database_url, ANTHROPIC_BASE_URL=llm.url, POLL_SECONDS="0.1")
    async with running_router(env) as url:
        await ill[0].was_asked_by_all(1)
        at_start = of_the_router(asyncio.all_tasks() - others)
        assert len(at_start) >= len(LOOPS)
        await ill[0].was_asked_by_all(3)
        assert [task for task in at_start if task.done() and task.get_name() not in FINISH] == []
        assert ill[0].claimed_unseen == []
        ill[0].is_ill = False
        async with set_stage(database_url, url, evolution, llm) as stage:
            await stage.maria.writes("tem bolo?")
            await stage.maria.answered()
        for task in at_start:
            assert not task.done() or task.get_name() in FINISH


class Hung:
    """A database that answers what the start asks itself, and nothing else."""

    connections = 30  # each loop holds one for ever; a real call would be given up

    def __init__(self, database: Database) -> None:
        self._database = database
        self.asked: list[str] = []

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        self.asked.append(function)
        if function != "check_database":
            await asyncio.Event().wait()
        return await self._database.call(function, argument)


async def test_no_loops_first_work_is_waited_for_by_the_start(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    hung: list[Hung] = []

    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[Database]:
        async with open_database(settings) as database:
            hung.append(Hung(database))
            yield hung[0]

    monkeypatch.setattr(workers, "open_database", opened)
    app = create_app(load_settings(environment(database_url)))
    async with app.router.lifespan_context(app):
        assert hung[0].asked == []  # the start is over, and none of them has begun
        while not set(LOOPS) <= set(hung[0].asked):
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://router"
        ) as http:
            assert (await http.get("/health/live")).status_code == 200
