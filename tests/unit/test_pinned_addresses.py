"""The pinned examples lead to the router, wherever it is; in the files, to the default."""

from typing import Any

import pytest

from scripts.n8n.canonical import DEFAULT_ROUTER_URL, canonical, with_router_url
from scripts.n8n.library import WORKFLOWS, read_workflows

FLOWS = [
    pytest.param(each, id=each["id"])
    for each in read_workflows(WORKFLOWS)
    if any("body" in item["json"] for items in each.get("pinData", {}).values() for item in items)
]


def urls_of(workflow: dict[str, Any]) -> list[str]:
    return [
        url
        for items in workflow["pinData"].values()
        for item in items
        for url in item["json"]["body"]["urls"].values()
    ]


@pytest.mark.parametrize("workflow", FLOWS)
@pytest.mark.parametrize("url", ["http://localhost:9123", "https://router.example/below/"])
def test_imported_they_lead_to_the_router_and_exported_to_the_default(
    workflow: dict[str, Any], url: str
):
    imported = with_router_url(workflow, url)
    assert urls_of(imported)
    assert all(each.startswith(f"{url.rstrip('/')}/n8n/") for each in urls_of(imported))
    assert canonical(imported) == canonical(workflow) == workflow
    assert all(each.startswith(f"{DEFAULT_ROUTER_URL}/n8n/") for each in urls_of(workflow))


def test_what_is_no_url_of_the_router_stays():
    odd = {"json": {"body": {"urls": {"gateway": "elsewhere", "done": None}}}}
    workflow = {"id": "x", "name": "x", "nodes": [], "pinData": {"Turn": [odd, {"json": {}}]}}
    assert with_router_url(workflow, "http://x")["pinData"] == workflow["pinData"]
