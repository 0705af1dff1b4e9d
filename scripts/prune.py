"""Archive or delete expired data, until none is left: for a cron job, once a night.

`python -m scripts.prune`, or `python scripts/prune.py`. Exit code 0: done; 1: not done, with the
reason on stderr (what was pruned before that stays pruned).
"""

import math
import sys
from pathlib import Path

if not __package__:  # run as a file: then the project is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from router.configuration.settings import Settings
from router.logs.setup import configure_logging
from router.state.database import Database
from router.upkeep.pruning import run_prune
from scripts.running import run, takes_no_arguments


async def prune_all(settings: Settings, database: Database) -> int:
    """Do what `POST /cron/prune` does, until nothing is left, and log how much was pruned."""
    configure_logging(settings)
    await run_prune(database, settings, seconds=math.inf)
    return 0


if __name__ == "__main__":
    takes_no_arguments("prune", __doc__)
    sys.exit(run(prune_all))
