"""`make demo`: the whole job, told as a conversation, with an exit code."""

import os
import subprocess
import sys

from tests.routers import ROOT


def test_the_demo_goes_as_it_should():
    env = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.demo"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert "nobody was talked over" in done.stdout
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
