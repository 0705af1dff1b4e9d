"""Evolution's client for tests that both send and look at what was sent."""

from router.evolution.client import EvolutionClient
from router.evolution.exchange import Instance
from router.evolution.sends import EvolutionSends, SentMessage


class WholeEvolution(EvolutionSends, EvolutionClient):
    """Both sides of the client, which the router keeps apart."""

    async def send_text(
        self, instance: Instance, number: str, text: str, **more: str
    ) -> SentMessage:
        body = {"number": number, "text": text, **more}
        return await self.send(instance, "message/sendText", body)
