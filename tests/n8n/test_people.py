"""A contact that is erased is erased in n8n's database, too: the executions that n8n had saved."""

from typing import Any

import asyncpg
import httpx
import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from tests.n8n.conftest import Staged
from tests.n8n_server import TestN8n
from tests.scenarios.stage import Stage, dark_stage

pytestmark = pytest.mark.n8n
SECRET = "moro na rua das Acácias 12"
QUICK = {"SECRETS_KEY": "sealing-key-0123456789abcdef0123", "TURN_MAX_ATTEMPTS": "1"}
TROUBLES = {
    "away": ("cannot be reached", {"N8N_PUBLIC_API_URL": "http://127.0.0.1:9"}),
    "elsewhere": ("is not at", {"N8N_PUBLIC_API_URL": "{n8n}/webhook/api/v1"}),
    "no key": ("N8N_PUBLIC_API_KEY", {"N8N_PUBLIC_API_KEY": ""}),
    "wrong key": ("make a new key", {"N8N_PUBLIC_API_KEY": "made-up"}),
}


@pytest.fixture(scope="session")
def public_key(n8n: TestN8n, owner: httpx.Cookies) -> str:
    """A key of n8n's public API, made as its owner makes one in the editor."""
    with httpx.Client(base_url=n8n.server.home.url, timeout=60, cookies=owner) as client:
        wanted = {"label": "hybridflow", "expiresAt": None, "scopes": ["execution:delete"]}
        made = client.post("/rest/api-keys", json=wanted)
        made.raise_for_status()
        key: str = made.json()["data"]["rawApiKey"]
    return key


async def saved(n8n: TestN8n, execution_id: str) -> list[dict[str, Any]]:
    """What n8n shows of an execution, and the data that it has of it."""
    connection = await asyncpg.connect(n8n.server.home.database_url)
    try:
        rows = await connection.fetch(
            "select e.status, d.data from execution_entity as e join execution_data as d"
            ' on d."executionId" = e.id where e.id = $1',
            int(execution_id),
        )
    finally:
        await connection.close()
    return [dict(row) for row in rows]


async def crashes_in_n8n(stage: Stage, n8n: TestN8n) -> str:
    """Have a flow crash, so that n8n saves its execution. Returns its id."""
    n8n.router.leads_to(stage.router_url)
    await stage.maria.writes(SECRET)
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["handler"]) == ("dead", "n8n")
    await n8n.falls_silent()
    (execution,) = await saved(n8n, turn["execution_id"])
    assert SECRET in execution["data"]
    return str(turn["execution_id"])


async def erase(stage: Stage) -> Any:
    who = {"tenant_id": stage.tenant_id}
    return await stage.post("/api/contacts/5511955550001/erase", params=who)


async def test_what_n8n_saved_of_an_erased_contact_is_deleted_there(
    staged: Staged, n8n: TestN8n, public_key: str
):
    async with staged("crash", N8N_PUBLIC_API_KEY=public_key, **QUICK) as stage:
        execution_id = await crashes_in_n8n(stage, n8n)
        erased = await erase(stage)
        assert erased["execution_ids"] == [execution_id]
        await stage.until("select * from executions_to_erase", lambda rows: not rows)
    assert await saved(n8n, execution_id) == []


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_while_n8n_does_not_delete_it_is_not_forgotten(
    staged: Staged,
    database_url: str,
    evolution: Evolution,
    llm: Anthropic,
    n8n: TestN8n,
    public_key: str,
    trouble: str,
):
    told, settings = TROUBLES[trouble]
    wrong = {name: text.replace("{n8n}", n8n.server.home.url) for name, text in settings.items()}
    async with staged("crash", **QUICK, **{"N8N_PUBLIC_API_KEY": public_key, **wrong}) as stage:
        execution_id = await crashes_in_n8n(stage, n8n)
        await erase(stage)
        (kept,) = await stage.until(
            "select * from executions_to_erase", lambda rows: bool(rows and rows[0]["error"])
        )
        assert kept["execution_id"] == execution_id
        assert told in kept["error"]
        assert SECRET not in str(kept)
        await stage.time_comes_to("select next_at from executions_to_erase")
    assert len(await saved(n8n, execution_id)) == 1
    right = n8n.configuration(**QUICK, N8N_PUBLIC_API_KEY=public_key)
    async with dark_stage(database_url, evolution, llm, **right) as later:
        await later.until("select * from executions_to_erase", lambda rows: not rows)
    assert await saved(n8n, execution_id) == []
