"""What is done once, right before a process begins to serve."""

import gc
import socket

import pytest
import uvicorn

from router.app import create_app
from router.configuration.settings import load_settings
from router.running.lasting import Lasting
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
    monkeypatch.setattr("router.serving.server.lasting", Lasting())  # these tests are no server
    settings = load_settings(environment("postgresql://nobody@127.0.0.1:9/none"), env_file=None)
    gc.unfreeze()  # what the tests have frozen
    before = gc.get_freeze_count()
    try:
        with door() as listener:
            serve(create_app(settings), settings, listener)
    finally:
        gc.unfreeze()
    assert frozen[0] > before + 10_000


def test_what_a_server_loads_beside_is_looked_through_by_no_collection_either():
    """The SDKs come after the start: a look through them took 0.06 s, one a second."""
    before, lasting = gc.get_freeze_count(), Lasting()
    try:
        lasting.leave_out()
        assert gc.get_freeze_count() == before, "it is no server, but has an application"
        lasting.begin()
        loaded: list[object] = [object]
        assert any(each is loaded for each in gc.get_objects())
        lasting.leave_out()
        assert not any(each is loaded for each in gc.get_objects())
    finally:
        gc.unfreeze()
