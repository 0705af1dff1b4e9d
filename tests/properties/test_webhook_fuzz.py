"""Mutated webhooks: never a 5xx, and the customer who writes next is answered all the same."""

import asyncio
import copy
import json
from pathlib import Path
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.app import create_app
from router.configuration.settings import load_settings
from router.state.direct import DirectDatabase
from tests.fixtures import SWOLLEN, swell
from tests.routers import WEBHOOK_SECRET, environment
from tests.state.conversation import Conversation

FIXTURES = [
    json.loads(path.read_text())
    for path in sorted((Path(__file__).parent.parent / "fixtures" / "evolution").glob("*.json"))
]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.sampled_from(
        ["", "\u0000", "\ud800", "🙂" * 50, "x" * 5000, "@lid", "@g.us", "1e999", "NaN"]
    ),
    st.sampled_from(SWOLLEN),
    st.lists(st.none(), max_size=3),
    st.just({}),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    body = copy.deepcopy(draw(st.sampled_from(FIXTURES)))
    for _ in range(draw(st.integers(0, 4))):
        place, key = draw(st.sampled_from(list(places(body)) or [(body, None)]))
        if key is None:
            continue
        if draw(st.booleans()) and isinstance(place, dict):
            place.pop(key, None)
        else:
            place[key] = draw(ODD)
    return body


def places(value: Any) -> Any:
    """Every container and key of a JSON value."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield value, key
        yield from places(inner)


async def test_no_webhook_however_mangled_breaks_the_router(database_url: str):
    app = create_app(load_settings(environment(database_url), env_file=None))
    database = await DirectDatabase.connect(database_url, size=1)
    talk = Conversation(database, "fuzzed")
    await talk.open_shop()
    transport = httpx.ASGITransport(app=app)
    statuses: set[int] = set()

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://router") as client,
    ):
        post = make_poster(client)

        @given(body=mutated())
        @settings(max_examples=300, suppress_health_check=list(HealthCheck))
        def explore(body: Any) -> None:
            statuses.add(post(body))

        await asyncio.to_thread(explore)

    assert statuses <= {200, 422}, statuses
    assert 200 in statuses
    decision = await talk.maria_writes("ainda está aí?")
    assert decision["decision"] in ("turn_pending", "paused")
    await database.close()


def make_poster(client: httpx.AsyncClient):
    loop = asyncio.get_running_loop()

    def post(body: Any) -> int:
        if isinstance(body, dict) and isinstance(body.get("instance"), str):
            body["instance"] = "fuzzed"
        answer = asyncio.run_coroutine_threadsafe(
            client.post(
                "/webhook/fuzzed",
                content=json.dumps(swell(body)),
                headers={"X-Webhook-Secret": WEBHOOK_SECRET},
            ),
            loop,
        ).result(timeout=120)
        assert answer.status_code < 500, (answer.status_code, answer.text, body)
        return answer.status_code

    return post
