"""How a send can end."""

from dataclasses import dataclass

from router.evolution.errors import EvolutionAway, EvolutionError
from router.sharing.places import NoPlace
from router.state.calls.sends import SendRefused

ID_TAKEN = (
    "Evolution's answer has the id of another message: this message is recorded without an id, and"
    " the other message was not changed"
)


@dataclass(frozen=True, slots=True)
class Sent:
    """The message is on the phone as `wa_id`, in the chat `jid`, with the text `body`.

    `message_id` is the state's id. If the message was sent earlier, the fence may not know the chat
    and the id: then `jid` is empty and `message_id` None. `leaves_due`: a turn without a worker may
    be due. It is False only if this send closed its turn and no other turn was due.
    """

    wa_id: str
    jid: str
    body: str
    message_id: int | None
    leaves_due: bool = True


@dataclass(frozen=True, slots=True)
class InDoubt:
    """The send has begun, now or earlier, and its result is not known yet."""

    jid: str
    body: str
    message_id: int | None


class SendStopped(Exception):
    """The fence refused: `reason` is 'paused', 'stale', 'superseded', …; nothing was sent.

    `answer` is the fence's whole answer, if it was asked.
    """

    def __init__(self, reason: str, answer: SendRefused | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answer = answer


class SendFailed(Exception):
    """The message was certainly not sent; `cause` says why."""

    def __init__(self, cause: EvolutionError | NoPlace) -> None:
        super().__init__(str(cause))
        self.cause = cause

    @property
    def is_away(self) -> bool:
        """Whether the same message may be sent later: the message itself is not the problem."""
        return isinstance(self.cause, (EvolutionAway, NoPlace))
