"""What is done once, right before a process begins to serve."""

import gc
import socket

import pytest
import uvicorn

from router.app import create_app
from router.configuration.settings import load_settings
from router.serving.server import serve
from tests.routers import door, environment


def test_what_was_loaded_at_the_start_is_looked_through_by_no_collection(
    monkeypatch: pytest.MonkeyPatch,
):
    """Each would take a tenth of a second, in which nobody is served."""
    frozen: list[int] = []

    def run(_: uvicorn.Server, sockets: list[socket.socket]) -> None:
        frozen.append(gc.get_freeze_count())

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setattr("router.serving.server.configure_logging", lambda _: None)
    settings = load_settings(environment("postgresql://nobody@127.0.0.1:9/none"), env_file=None)
    before = gc.get_freeze_count()
    try:
        with door() as listener:
            serve(create_app(settings), settings, listener)
    finally:
        gc.unfreeze()
    assert frozen[0] > before + 10_000
