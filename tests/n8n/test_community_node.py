"""The community node `n8n-nodes-evolution-api` sends through the gateway, with the turn's token.

Its credential has expressions: the server is the turn's gateway, the key its token.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.anthropic import Anthropic
from scripts.n8n.catalogue import installed_community
from scripts.n8n.installation import Installation
from scripts.n8n.server import N8nHome
from tests.n8n.flows import community
from tests.n8n_server import TestN8n, running_n8n
from tests.postgres import Databases
from tests.scenarios.stage import performance

pytestmark = [pytest.mark.n8n, pytest.mark.timeout(900)]
PACKAGE = "n8n-nodes-evolution-api"
TURN = "$('community').first().json.body"
CREDENTIAL = {
    "id": "evolutionGateway",
    "name": "Evolution, through the gateway",
    "type": "evolutionApi",
    "data": {
        "server-url": f"={{{{ {TURN}.urls.gateway }}}}",
        "apikey": f"={{{{ {TURN}.token }}}}",
    },
}


def prepares(installation: Installation, home: N8nHome, folder: Path) -> None:
    """As *Settings, Community nodes* does, and with the credential that the guide describes."""
    nodes = home.folder / ".n8n" / "nodes"
    nodes.mkdir(parents=True)
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps")
    subprocess.run(
        [str(installation.node), str(installation.npm), "install", *quiet, f"{PACKAGE}@1.0.4"],
        cwd=nodes,
        check=True,
        capture_output=True,
    )
    (folder / "community.json").write_text(json.dumps(community()))
    example = folder / "credentials.example.json"
    example.write_text(json.dumps([*json.loads(example.read_text()), CREDENTIAL]))


@pytest.fixture
def n8n_with_it(databases: Databases, tmp_path: Path) -> Iterator[TestN8n]:
    with running_n8n(databases.create(), tmp_path, {}, prepares) as n8n:
        yield n8n


async def test_the_community_node_sends_through_the_gateway(
    n8n_with_it: TestN8n, database_url: str, evolution, llm: Anthropic
):
    n8n = n8n_with_it
    installed = installed_community(n8n.server.home.folder)
    assert installed == {PACKAGE: frozenset({"evolutionapi"})}
    async with performance(database_url, evolution, llm, **n8n.configuration("community")) as stage:
        await stage.maria.writes("oi")
        (turn,) = await stage.turns_end()
        assert stage.maria.replies == ["pelo nó da comunidade"]
        await n8n.falls_silent()
    assert (turn["state"], turn["handler"], turn["incomplete"]) == ("sent", "n8n", False)
