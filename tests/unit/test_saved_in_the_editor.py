"""The workflows as n8n's editor writes them: to save one without a change gives no diff.

By the source of the editor of 2.40.7: it keeps nodes on its grid, writes down that types are
converted where a comparison wants that, and how the workflow keeps binary data.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.n8n.library import WORKFLOWS, read_workflows

GRID = 16
FLOWS = [pytest.param(workflow, id=workflow["id"]) for workflow in read_workflows(WORKFLOWS)]
Node = dict[str, Any]


def comparing(workflow: dict[str, Any]) -> Iterator[Node]:
    """Yield the nodes that compare, and have it in their parameters how strictly."""
    kinds = ("n8n-nodes-base.if", "n8n-nodes-base.switch", "n8n-nodes-base.filter")
    yield from (node for node in workflow["nodes"] if node["type"] in kinds)


@pytest.mark.parametrize("workflow", FLOWS)
def test_nodes_and_notes_are_on_the_grid(workflow: dict[str, Any]):
    off = [node["name"] for node in workflow["nodes"] if any(n % GRID for n in node["position"])]
    assert off == []
    sizes = [
        node["parameters"].get(side, GRID)
        for node in workflow["nodes"]
        if node["type"].endswith(".stickyNote")
        for side in ("width", "height")
    ]
    assert [size for size in sizes if size % GRID] == []


@pytest.mark.parametrize("workflow", FLOWS)
def test_how_strictly_is_compared_is_said_where_the_editor_says_it(workflow: dict[str, Any]):
    for node in comparing(workflow):
        is_loose = '"typeValidation": "loose"' in json.dumps(node["parameters"])
        assert node["parameters"].get("looseTypeValidation", False) is is_loose, node["name"]


@pytest.mark.parametrize("workflow", FLOWS)
def test_how_it_runs_and_keeps_binary_data_is_said(workflow: dict[str, Any]):
    settings = workflow["settings"]
    assert (settings["executionOrder"], settings["binaryMode"]) == ("v1", "separate")
