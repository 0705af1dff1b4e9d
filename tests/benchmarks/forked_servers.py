"""Loaded by the process that is forked (`tests.forks`): its benchmarks fork their servers, too."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from benchmarks import serving
from tests.forks import Fork, fork


def begin(way: Sequence[str], folder: Path, environment: Mapping[str, str], log: IO[bytes]) -> Fork:
    """Begin to run a module with its options as `serving.begin` does, in a fork."""
    module, *arguments = way
    return fork(
        *(Path(sys.executable), module, arguments),
        folder=folder,
        environment=environment,
        files=(0, log.fileno(), 2),
    )


serving.begin = begin
