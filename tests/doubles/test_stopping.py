"""A loopback program that stops leaves nothing open, whoever is connecting at that moment."""

import gc
import socket
import sys
import threading

import pytest

from loopback.anthropic import Anthropic


def test_who_connects_while_it_stops_leaves_no_socket_behind(monkeypatch: pytest.MonkeyPatch):
    left_open: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda said: left_open.append(said.exc_value))
    for _ in range(20):
        program = Anthropic().start()
        sockets: list[socket.socket] = []
        callers = threading.Thread(target=_connect, args=(program.port, sockets))
        callers.start()
        program.stop()
        callers.join()
        for connected in sockets:
            connected.close()
        gc.collect()
    assert left_open == []


def _connect(port: int, sockets: list[socket.socket]) -> None:
    for _ in range(30):
        try:
            sockets.append(socket.create_connection(("127.0.0.1", port), timeout=1))
        except OSError:
            return
