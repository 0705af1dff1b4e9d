"""A program that transcribes sound on this machine with faster-whisper; it runs beside the router.

It is started by its path and keeps running, because a model takes long to load. It is a process of
its own, because a model needs much memory: when memory runs out, this program ends and not the
router. It writes a line of JSON when it is ready, and one for each sound. A request is a line of
JSON, {"bytes", "language"}, followed by the bytes of the sound.

    python -P local_listener.py MODEL
"""

import importlib
import io
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

# The program is started by its path, so it adds its own folder to the import path.
sys.path.insert(0, str(Path(__file__).parents[2]))

from router.senses.expendable import be_expendable

_LONGEST = 20_000  # characters
_MODULE = "faster_whisper"


def main() -> None:
    """Load the model, then answer requests until the input ends."""
    be_expendable()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the output of libraries must not be taken for an answer
    try:
        model = importlib.import_module(_MODULE).WhisperModel(sys.argv[1], compute_type="auto")
    except Exception as error:  # noqa: BLE001 - not installed, no such model, no download
        _say(answers, {"unable": _words_of(error)})
        return
    _say(answers, {"ready": True})
    asked = sys.stdin.buffer
    while line := asked.readline():
        _say(answers, _answer(model, asked, json.loads(line)))


def _answer(model: Any, asked: BinaryIO, question: dict[str, Any]) -> dict[str, str]:
    sound = io.BytesIO(asked.read(question["bytes"]))
    try:
        pieces: Iterable[Any]
        pieces, _ = model.transcribe(
            sound,
            language=question["language"],
            vad_filter=True,  # it would invent words for silence
            condition_on_previous_text=False,  # and would continue with invented words
        )
        words = "".join(piece.text for piece in pieces)
    except Exception as error:  # noqa: BLE001 - libraries raise anything for a broken sound
        return {"failed": _words_of(error)}
    return {"text": words.strip()[:_LONGEST]}


def _words_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
