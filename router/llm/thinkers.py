"""Learns which models begin with a thought without an opening tag, which was in their prompt."""

from dataclasses import replace

from router.llm.provider import LlmReply
from router.llm.reasoning import begins_in_thought, has_tags

_MOST = 1_000  # models whose name is kept: tenants name them


class Thinkers:
    """What was learnt of one server: if such a thought is cut off, its text does not show it."""

    def __init__(self) -> None:
        self._models: dict[str, None] = {}

    def heard(self, model: str, reply: LlmReply) -> LlmReply:
        """Return the reply, without its text if that is known to be only a thought."""
        if begins_in_thought(reply.text):
            while len(self._models) >= _MOST:
                self._models.pop(next(iter(self._models)))
            self._models[model] = None
        elif reply.truncated and model in self._models and not has_tags(reply.text):
            return replace(reply, text="")
        return reply
