"""The system is asked where a host is, by one thread for each name."""

import threading

import pytest

from router.outbound import names


async def test_a_thread_that_cannot_be_started_costs_no_other_name_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "_threads", threading.BoundedSemaphore(1))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(OSError, match="localhost cannot be asked for: can't start"):
                await names.ask_system("localhost", 80)
    assert await names.ask_system("localhost", 80)
