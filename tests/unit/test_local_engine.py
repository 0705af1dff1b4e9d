"""Sound is put into words on this machine, by a program beside; a stand-in module is its engine."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.configuration.settings import load_settings
from router.senses.hearing import NeedAway, NotUnderstood, Sound
from router.senses.local_engine import LocalEngine
from router.senses.opening import make_listener
from tests import files

STAND_IN = """
import collections, os, time

Piece = collections.namedtuple("Piece", "text")

class WhisperModel:
    def __init__(self, name, compute_type):
        if name == "no-such":
            raise ValueError("Invalid model size 'no-such'")
        print("a library that prints")
        self.name = name

    def transcribe(self, sound, language, **how):
        assert how == {"vad_filter": True, "condition_on_previous_text": False}
        said = sound.read()
        if said == b"kill":
            os._exit(1)
        if said == b"hang":
            time.sleep(60)
        if said == b"fail":
            raise RuntimeError("it is broken")
        told = [self.name, language or "-", str(len(said)), str(os.getpid())]
        return (Piece(" " + each) for each in told), None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "faster_whisper.py").write_text(STAND_IN)
    return tmp_path


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine("small", 20, {"PYTHONPATH": str(folder)})
    yield engine
    await engine.close()


async def test_the_program_stays_and_is_started_again_after_whatever_ends_it(engine: LocalEngine):
    await engine.load()
    whole = Sound(files.sound(2))
    first = (await engine.hear(whole, "pt", 1)).words.split()
    again = (await engine.hear(whole, None, 1)).words.split()
    assert first[:3] == ["small", "pt", str(len(whole.content))]
    assert again[1] == "-"
    assert again[3] == first[3]  # the same process
    with pytest.raises(NotUnderstood, match="it is broken"):
        await engine.hear(Sound(b"fail"), None, 1)
    with pytest.raises(NotUnderstood, match="broke off"):
        await engine.hear(Sound(b"kill"), None, 1)
    after = (await engine.hear(whole, None, 1)).words.split()
    assert after[3] != first[3]


async def test_what_takes_too_long_is_ended_and_leaves_no_answer_for_the_next(
    engine: LocalEngine, monkeypatch
):
    await engine.hear(Sound(b"a"), None, 1)
    with monkeypatch.context() as short:
        short.setattr(engine, "_timeout", 0.05)
        with pytest.raises(NotUnderstood, match="STT_TIMEOUT") as told:
            await engine.hear(Sound(b"hang"), None, 1)
    assert not told.value.final
    assert (await engine.hear(Sound(b"bcd"), None, 1)).words.split()[2] == "3"


async def test_a_flood_of_one_tenant_is_heard_in_turn_with_the_others(engine: LocalEngine):
    order: list[int] = []

    async def hear(tenant: int) -> None:
        await engine.hear(Sound(b"a"), None, tenant)
        order.append(tenant)

    flood = [asyncio.create_task(hear(1)) for _ in range(6)]
    await asyncio.sleep(0)
    gone = asyncio.create_task(hear(2))
    others = [asyncio.create_task(hear(tenant)) for tenant in (2, 3, 2)]
    await asyncio.sleep(0)
    gone.cancel()  # who waits no longer holds up nobody
    await asyncio.gather(*flood, *others)
    assert order == [1, 2, 3, 1, 2, 1, 1, 1, 1]


async def test_where_it_cannot_listen_at_all_no_attempt_counts(folder: Path):
    installed = {"PYTHONPATH": str(folder)}
    for model, environment, why in (
        ("small", dict[str, str](), "No module named 'faster_whisper'"),
        ("no-such", installed, "Invalid model size"),
    ):
        engine = LocalEngine(model, 20, environment)
        with pytest.raises(NeedAway, match=why) as told:
            await engine.hear(Sound(b"a"), None, 1)
        assert told.value.need == "speech"
        await engine.close()


async def test_it_is_given_no_key_and_is_loaded_by_nobody_else(monkeypatch):
    for name, value in {"PATH": "/usr/bin", "HF_HOME": "/models", "STT_API_KEY": "sk"}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings({"STT_LOCAL_MODEL": "small", "STT_BASE_URL": "http://stt.example/v1"})
    engine = make_listener(settings)
    assert isinstance(engine, LocalEngine)
    given = engine._environment
    assert given["HF_HOME"] == "/models"
    assert not [name for name in given if "KEY" in name]
    assert "faster_whisper" not in sys.modules
