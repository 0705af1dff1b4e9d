"""Learns which models begin with a thought without an opening tag: it is part of their prompt."""

from dataclasses import replace

from router.llm.provider import LlmReply
from router.llm.reasoning import begins_in_thought, has_tags

_MOST = 1_000  # models that are remembered, because tenants may name any


class Thinkers:
    """What was learnt about one server.

    If a thought of such a model is cut off, its text has no tag, and looks like a reply.
    """

    def __init__(self) -> None:
        self._models: dict[str, None] = {}

    def heard(self, model: str, reply: LlmReply) -> LlmReply:
        """Return the reply; without its text, if that is known to be only a thought."""
        if begins_in_thought(reply.text):
            while len(self._models) >= _MOST:
                self._models.pop(next(iter(self._models)))
            self._models[model] = None
        elif reply.truncated and model in self._models and not has_tags(reply.text):
            return replace(reply, text="")
        return reply
