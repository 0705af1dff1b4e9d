"""End every expired pause, once: for a cron job, about every 15 minutes.

`python -m scripts.auto_resume`, or `python scripts/auto_resume.py`. Exit code 0: done (even if
there was nothing to do), 1: not done, with the reason on stderr.
"""

import math
import sys
from pathlib import Path

if not __package__:  # run as a file: then the project is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from router.configuration.settings import Settings
from router.logs.setup import configure_logging
from router.state.database import Database
from router.upkeep.ending_pauses import run_auto_resume
from scripts.running import run, takes_no_arguments


async def resume_once(settings: Settings, database: Database) -> int:
    """Do what `POST /cron/auto-resume` does, and log "Auto-resumed N sessions"."""
    configure_logging(settings)
    await run_auto_resume(database, settings, seconds=math.inf)
    return 0


if __name__ == "__main__":
    takes_no_arguments("auto_resume", __doc__)
    sys.exit(run(resume_once))
