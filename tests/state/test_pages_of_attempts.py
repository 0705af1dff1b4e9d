"""An export's attempts come a little at a time, however many a turn has had."""

import json
from typing import Any

import pytest

from router.state.database import Json
from tests.state.conversation import Conversation
from tests.state.test_large_pages import LARGEST, talk

__all__ = ["talk"]


async def turns_with_attempts(talk: Conversation, turns: int, attempts: int, letters: int) -> None:
    await talk.sql("update turns set state = 'cancelled', finished_at = now()")
    await talk.sql(
        "insert into turns"
        " (tenant_id, session_id, state, run_after, debounce_until, created_at, finished_at)"
        " select 1, 1, 'cancelled', now(), now(), now(), now()"
        " from generate_series(2, $1::integer)",
        turns,
    )
    await talk.sql(
        "insert into turn_attempts"
        " (turn_id, tenant_id, attempt, worker, began, ended, outcome, error)"
        " select t.id, 1, g, 'router-1', now(), now(), 'failed', repeat('x', $2::integer)"
        " from turns as t cross join generate_series(1, $1::integer) as g",
        attempts,
        letters,
    )


async def pages(talk: Conversation, limit: int) -> list[list[Json]]:
    asked: dict[str, Any] = {"tenant_id": 1, "session_id": 1, "list": "turn_attempts"}
    found: list[list[Json]] = []
    cursor = None
    while True:
        page = await talk.database.call("export_rows", {**asked, "limit": limit, "cursor": cursor})
        found.append(page["items"])
        if (cursor := page["next_cursor"]) is None:
            return found


@pytest.mark.parametrize("turns", [1, 3, 20])
async def test_a_page_ends_where_it_is_large(talk: Conversation, turns: int):
    await turns_with_attempts(talk, turns, attempts=600 // turns, letters=5_000)
    found = await pages(talk, 200)
    ids = [each["id"] for page in found for each in page]
    assert len(ids) == len(set(ids)) == 600 // turns * turns
    assert max(len(json.dumps(page)) for page in found) <= LARGEST + 100_000
    assert len(found) >= 6


@pytest.mark.parametrize("limit", [1, 2, 200])
async def test_pages_of_any_size_leave_nothing_out_and_say_nothing_twice(
    talk: Conversation, limit: int
):
    await turns_with_attempts(talk, turns=5, attempts=3, letters=10)
    found = await pages(talk, limit)
    ids = [each["id"] for page in found for each in page]
    assert len(ids) == len(set(ids)) == 15
    assert max(map(len, found)) <= 3 * limit


async def test_a_page_of_turns_carries_no_attempts(talk: Conversation):
    await turns_with_attempts(talk, turns=2, attempts=100, letters=5_000)
    asked = {"tenant_id": 1, "session_id": 1, "list": "turns"}
    page = await talk.database.call("export_rows", asked)
    assert len(page["items"]) == 2
    assert len(json.dumps(page)) < 20_000
