"""How long a send may take, and how long others wait for it.

Three times follow from it: when the router stops waiting for Evolution's response, when the fence
lets others work on the turn again, and when a message that Evolution does not show has certainly
not been sent. Each is later than the one before, for every size of message.
"""

from dataclasses import dataclass

_MB = 1_000_000
SECONDS_A_MB = 2.0
"""A line of 4 Mbit/s carries a MB in that time, so SEND_TIMEOUT is left for all that follows."""
_STALLED = 5.0  # seconds after which the fence's answer is too old to send
_LEAST_SETTLE = 1.0
COURTESY_PATIENCE = 5.0
"""How many seconds after it was wanted a "typing…" or a mark as read may begin; later nothing is
shown, because the reply may be there by then, from another router or a human."""


def upload_seconds(size: int) -> float:
    """Return how much longer than SEND_TIMEOUT a send of this many bytes may take.

    It is recorded with the send, so that all routers know it, whatever their own settings.
    """
    return size // _MB * SECONDS_A_MB


@dataclass(frozen=True, slots=True)
class SendTimes:
    """SEND_TIMEOUT, SEND_SETTLE_SECONDS and TURN_LEASE_SECONDS, and what follows from them.

    `upload` is the `upload_seconds` of the message.
    """

    timeout: float
    settle: float
    lease: float

    def exchange(self, upload: float = 0.0) -> float:
        """Return how long Evolution has, from the first byte sent to the last one received."""
        return self.timeout + upload

    @property
    def patience(self) -> float:
        """How long after the fence a request may still begin; a human may write meanwhile."""
        return min(_STALLED, max(self.settle, _LEAST_SETTLE))

    def fence(self, upload: float = 0.0, *, is_renewed: bool = False) -> float:
        """Return the lease that the fence gives a send, counted from its begin.

        It lasts longer than the send, so that no other worker takes the turn meanwhile. It can be
        short if the process renews it.
        """
        longest = self.patience + self.exchange(upload)
        return self.lease if is_renewed else max(self.lease, longest)

    @property
    def late(self) -> float:
        """How long after the fence a send may still show up; its `upload` comes on top.

        It begins within `patience`. Then it takes until it is in doubt, and then until Evolution
        has finished with it.
        """
        return self.patience + self.timeout + max(self.settle, _LEAST_SETTLE)
