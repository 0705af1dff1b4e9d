"""Which models begin with a thought that no tag opens, for it stood in their prompt: learnt."""

from dataclasses import replace

from router.llm.provider import LlmReply
from router.llm.reasoning import begins_in_thought, has_tags

_MOST = 1_000  # models whose name is kept: tenants name them


class Thinkers:
    """What was learnt of one server, whose texts tell nothing where such a thought is cut off."""

    def __init__(self) -> None:
        self._models: dict[str, None] = {}

    def heard(self, model: str, reply: LlmReply) -> LlmReply:
        """Return the reply, without its text where that is known to be a thought alone."""
        if begins_in_thought(reply.text):
            while len(self._models) >= _MOST:
                self._models.pop(next(iter(self._models)))
            self._models[model] = None
        elif reply.truncated and model in self._models and not has_tags(reply.text):
            return replace(reply, text="")
        return reply
