"""HTTP clients of tests: they wait for busy machines, and read the certificates once."""

from typing import Any

import httpx

from loopback.waiting import DEADLINE
from router.outbound.trust import trusted


def patient(**options: Any) -> httpx.AsyncClient:
    """Return a client that waits two minutes for each answer. `options` are httpx's."""
    return httpx.AsyncClient(timeout=DEADLINE, verify=trusted(), trust_env=False, **options)


def get(url: str, **options: Any) -> httpx.Response:
    """Ask at once and wait for the answer, for tests without an event loop."""
    return httpx.get(url, timeout=DEADLINE, verify=trusted(), trust_env=False, **options)


def post(url: str, **options: Any) -> httpx.Response:
    """The same, with POST."""
    return httpx.post(url, timeout=DEADLINE, verify=trusted(), trust_env=False, **options)
