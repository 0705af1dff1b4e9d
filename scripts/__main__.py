"""`python -m scripts COMMAND …`: what `hybridflow COMMAND …` does, where nothing is installed."""

import sys

from scripts.commands import main

sys.exit(main())
