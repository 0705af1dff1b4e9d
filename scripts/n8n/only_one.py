"""Only one n8n may use a data folder and its database: a second start says where the first is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from router.embedded.alone import alone


class N8nRunsAlready(Exception):
    """This n8n runs already. The text says where, and what to do."""


@contextmanager
def only_one(folder: Path, url: str) -> Iterator[None]:
    """Lock n8n's folder against other starts during the block. Raises N8nRunsAlready.

    The system releases the lock if a process is killed; the files' content then has no meaning.
    """
    note = folder / "running"
    with alone(folder, "running") as is_alone:
        if not is_alone:
            where = note.read_text().strip() if note.exists() else "it is starting"
            raise N8nRunsAlready(
                f"The n8n of {folder} runs already: {where}. Use that one, or end it with Ctrl-C"
                " where it was started. A second one beside it needs an HYBRIDFLOW_DATA of its own,"
                " and another N8N_PORT."
            )
        note.write_text(f"{url} (its starter is process {os.getpid()})\n")
        try:
            yield
        finally:
            note.unlink(missing_ok=True)
