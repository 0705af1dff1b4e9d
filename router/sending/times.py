"""How long a send may take, and what must outlast it: one rule, for all who ask.

Three things hang on it: when the router gives up waiting for Evolution's answer, until when the
fence keeps others away from what is being sent, and from when on a message that Evolution does not
show has certainly not left. Each is later than the one before, whatever the size of the message.
"""

from dataclasses import dataclass

_MB = 1_000_000
SECONDS_A_MB = 2.0
"""A line of 4 Mbit/s carries a MB in that time. SEND_TIMEOUT stays for all that comes after."""
_STALLED = 5.0  # seconds after which what the fence said may not hold any more
_LEAST_SETTLE = 1.0


def upload_seconds(size: int) -> float:
    """Return how much longer than SEND_TIMEOUT a send of so many bytes may take.

    It is recorded with the send, so that all routers know, whatever each of them is set to.
    """
    return size // _MB * SECONDS_A_MB


@dataclass(frozen=True, slots=True)
class SendTimes:
    """SEND_TIMEOUT, SEND_SETTLE_SECONDS and TURN_LEASE_SECONDS, and what follows from them.

    `upload` is what `upload_seconds` says of the message.
    """

    timeout: float
    settle: float
    lease: float

    def exchange(self, upload: float = 0.0) -> float:
        """Return how long Evolution has, from the first byte that is sent to the last answered."""
        return self.timeout + upload

    @property
    def patience(self) -> float:
        """How long after the fence was asked an exchange may begin: a human may write meanwhile."""
        return min(_STALLED, max(self.settle, _LEAST_SETTLE))

    def fence(self, upload: float = 0.0, *, is_renewed: bool = False) -> float:
        """Return the lease that the fence gives a send, from its begin on.

        It outlasts the send: nobody else takes the work up meanwhile. Where it is renewed for as
        long as the process lives, it can be short.
        """
        longest = self.patience + self.exchange(upload)
        return self.lease if is_renewed else max(self.lease, longest)

    @property
    def late(self) -> float:
        """How long after its begin a send may still show up, and its `upload` longer.

        It may take its time until it is in doubt, and then until Evolution has done with it.
        """
        return self.timeout + max(self.settle, _LEAST_SETTLE)
