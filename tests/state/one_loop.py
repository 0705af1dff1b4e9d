"""Runs the tests of a folder, and their fixtures, in one event loop: they share connections."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio


def run_in_one_loop(items: list[pytest.Item], folder: Path) -> None:
    """For `pytest_collection_modifyitems`."""
    for item in items:
        if folder in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def make_in_one_loop(fixturedef: pytest.FixtureDef[Any]) -> None:
    """For `pytest_fixture_setup` (pytest-asyncio reads this where a fixture says nothing)."""
    made = fixturedef.func
    if inspect.iscoroutinefunction(made) or inspect.isasyncgenfunction(made):
        made.__dict__["_loop_scope"] = "session"
