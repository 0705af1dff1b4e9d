"""A port for a program that starts a while after its port was drawn."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from router.embedded import ports

HOST = "127.0.0.1"


def test_no_outgoing_connection_can_take_it():
    assert all(20_000 <= ports.free_port() < 32_768 for _ in range(20))


def test_no_two_are_the_same():
    drawn = [ports.free_port() for _ in range(50)]
    assert len(set(drawn)) == 50


def test_nobody_listens_on_it(monkeypatch: pytest.MonkeyPatch):
    port = ports.free_port()
    with socket.create_server((HOST, port)):
        monkeypatch.setattr(ports, "_claims", {})
        monkeypatch.setattr(ports, "_DRAWN_FROM", range(port, port + 1))
        with pytest.raises(OSError, match=f"no free port between {port} and {port}"):
            ports.free_port()


@pytest.mark.skipif(sys.platform != "linux", reason="a claim is seen by others on Linux only")
def test_another_process_does_not_draw_it(monkeypatch: pytest.MonkeyPatch):
    program = "import sys; from router.embedded.ports import free_port; print(free_port())"
    other = subprocess.Popen(
        [sys.executable, "-c", f"{program}; sys.stdout.flush(); sys.stdin.readline()"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    with other:
        port = int(other.stdout.readline())
        monkeypatch.setattr(ports, "_DRAWN_FROM", range(port, port + 1))
        with pytest.raises(OSError, match="no free port"):
            ports.free_port()
        other.communicate("\n")
    assert ports.free_port() == port


def test_an_old_claim_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ports, "_CLAIMS_KEPT", 2)
    for _ in range(5):
        ports.free_port()
    assert len(ports._claims) == 2
