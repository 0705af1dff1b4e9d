"""A program that puts sound into words on this machine, with faster-whisper; run beside the router.

It is started by its path and stays, since a model takes long to load and much memory: that is its
own, and where memory runs out it ends, not the router. It writes a line of JSON once it can listen,
and one for each sound. Asked it is by a line of JSON, {"bytes", "language"}, and a sound's bytes.

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

# Started by its path, it finds its own folder.
sys.path.insert(0, str(Path(__file__).parents[2]))

from router.senses.expendable import be_expendable

_LONGEST = 20_000  # characters
_MODULE = "faster_whisper"


def main() -> None:
    """Load the model, then listen until nobody asks any more."""
    be_expendable()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    try:
        model = importlib.import_module(_MODULE).WhisperModel(sys.argv[1], compute_type="auto")
    except Exception as error:  # noqa: BLE001 - not installed, no such model, no way to fetch it
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
            vad_filter=True,  # of silence it makes things up
            condition_on_previous_text=False,  # and goes on with what it made up
        )
        words = "".join(piece.text for piece in pieces)
    except Exception as error:  # noqa: BLE001 - whatever a library raises at a sound
        return {"failed": _words_of(error)}
    return {"text": words.strip()[:_LONGEST]}


def _words_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
