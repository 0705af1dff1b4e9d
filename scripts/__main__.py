"""`python -m scripts COMMAND …`: the same as `hybridflow COMMAND …`, without an installation."""

import sys

from scripts.commands import main

sys.exit(main())
