"""kill -9 of the router when a file is in its store, and nobody knows: it is kept once."""

from collections.abc import AsyncIterator, Iterator

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.evolution.contents import image
from loopback.supabase import Supabase
from loopback.supabase.storage import Bucket
from tests import files
from tests.forks import ForkedRouter
from tests.routers import RouterProcess, environment
from tests.scenarios.stage import Stage, set_stage

BUCKET = "received-media"


@pytest.fixture
def project(database_url: str) -> Iterator[Supabase]:
    """Storage alone is asked: the state has DATABASE_URL."""
    with Supabase(database_url) as project:
        yield project


@pytest.fixture
def router(database_url: str, llm: Anthropic, project: Supabase) -> Iterator[RouterProcess]:
    process = ForkedRouter(
        environment(
            database_url,
            ANTHROPIC_BASE_URL=llm.url,
            LOOK_AT_MEDIA="true",
            SUPABASE_URL=project.url,
            SUPABASE_SERVICE_ROLE_KEY=project.secret_key,
            MEDIA_BUCKET=BUCKET,
        )
    )
    yield process
    process.close()


@pytest.fixture
async def stage(
    router: RouterProcess, database_url: str, evolution: Evolution, llm: Anthropic
) -> AsyncIterator[Stage]:
    llm.answers_always("Certo!")
    router.start()
    await router.ready()
    async with set_stage(database_url, router.url, evolution, llm) as stage:
        await stage.change(keep_media_days=30)
        yield stage


async def test_a_file_is_kept_once_and_what_was_begun_before_goes(
    stage: Stage, router: RouterProcess, project: Supabase
):
    gate = project.hold("storage POST", after=True)
    project.storage.buckets[BUCKET] = Bucket()
    sent = stage.maria.sends(image())
    picture = files.picture()
    stage.shop.received[sent.wa_id] = picture
    await sent
    await gate.reached()
    router.kill()
    project.heal()
    router.start()
    await router.ready()
    await stage.maria.answered()
    await stage.turns_end()
    assert len(stage.maria.replies) == 1
    await stage.until(
        "select state from kept_files where message_id is not null",
        lambda rows: [row["state"] for row in rows] == ["kept"],
    )
    await stage.time_passes(minutes=11)
    router.kill()
    router.start()
    await router.ready()  # it looks after files at once
    await stage.until("select id from kept_files", lambda rows: len(rows) == 1)
    (row,) = await stage.sql("select name, state from kept_files")
    objects = project.storage.buckets[BUCKET].objects
    assert (row["state"], list(objects)) == ("kept", [row["name"]])
    assert objects[row["name"]][0] == picture
