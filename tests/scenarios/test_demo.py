"""`make demo`: the whole job, told as a conversation, with an exit code."""

import os
import subprocess
import sys

import pytest

from tests.n8n_server import WITHOUT_EDITOR_AS_EXTRA
from tests.routers import ROOT


@pytest.mark.parametrize("options", [[], pytest.param(["--n8n"], marks=pytest.mark.n8n)])
def test_the_demo_goes_as_it_should(options: list[str]):
    kept = ("PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.demo", *options],
        cwd=ROOT,
        env={**env, **WITHOUT_EDITOR_AS_EXTRA},
        capture_output=True,
        text=True,
        check=False,
        timeout=350,
    )
    assert done.returncode == 0, done.stderr
    assert "nobody was talked over" in done.stdout
    assert "Maria  (voice note) “E o de fubá, quanto custa?”" in done.stdout
    assert "O de fubá sai por *R$ 28*" in done.stdout
    assert done.stderr == ""


def test_a_real_provider_without_its_key_is_refused_with_the_cure():
    done = subprocess.run(
        [sys.executable, "-m", "scripts.demo", "--llm", "openai"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr
