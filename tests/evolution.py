"""Evolution's client for tests that both send and look at what was sent."""

from router.evolution.client import EvolutionClient
from router.evolution.sends import EvolutionSends


class WholeEvolution(EvolutionSends, EvolutionClient):
    """Both sides of the client, which the router keeps apart."""
