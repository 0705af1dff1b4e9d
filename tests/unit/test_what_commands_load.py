"""A command loads what it needs: a newcomer waits for it, and on a small machine for seconds."""

import subprocess
import sys

import pytest

ROUTER = ("router.app", "router.wiring")
ANSWERS = ("router.n8n.payload", "router.replies.context", "anthropic", "openai")


@pytest.mark.apart
@pytest.mark.parametrize(
    ("command", "others"),
    [
        ("scripts.serve", (*ROUTER, *ANSWERS)),
        ("scripts.n8n.__main__", (*ROUTER, *ANSWERS, "fastapi", "aiohttp", "holidays")),
        ("scripts.migrate", (*ROUTER, *ANSWERS, "fastapi", "aiohttp", "holidays")),
        ("scripts.tenant", (*ROUTER, "anthropic", "openai", "fastapi")),
        ("scripts.turn", (*ROUTER, "anthropic", "openai", "fastapi")),
        ("scripts.auto_resume", (*ROUTER, *ANSWERS, "fastapi")),
        ("scripts.prune", (*ROUTER, *ANSWERS, "fastapi")),
    ],
)
def test_a_command_does_not_load_what_it_does_not_need(command: str, others: tuple[str, ...]):
    looks = f"import sys, {command}; print(*sorted(set({others!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", looks], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
