"""A free port of this machine for a program that is about to start.

The number is chosen before the program listens. The kernel also gives a port of `bind(…, 0)` to
outgoing connections, so such a port may be taken before the program listens: n8n takes ten seconds
to start. The ports here are below that range, and no two processes get the same one.
"""

import atexit
import random
import socket
import sys

_LOOPBACK = "127.0.0.1"
# Below the ports that Linux (from 32768), macOS and Windows (from 49152) give to outgoing
# connections, and above the well-known ports.
_DRAWN_FROM = range(20_000, 32_768)
# A claim is needed only until the program listens, and each one keeps a file open: the oldest go.
_CLAIMS_KEPT = 64
_claims: dict[int, socket.socket | None] = {}


def free_port() -> int:
    """Return a port of 127.0.0.1 that no program listens on, and that no other process gets now.

    Raises OSError if all are taken.
    """
    size = len(_DRAWN_FROM)
    first = random.SystemRandom().randrange(size)
    for place in range(first, first + size):
        port = _DRAWN_FROM[place % size]
        if _claimed(port) and _free(port):
            _let_go_the_oldest(_CLAIMS_KEPT)
            return port
    raise OSError(f"no free port between {_DRAWN_FROM.start} and {_DRAWN_FROM.stop - 1}")


def _claimed(port: int) -> bool:
    if port in _claims:
        return False
    if sys.platform != "linux":
        _claims[port] = None
        return True
    # An abstract socket: all programs with the same network see its name, and it ends with this
    # process.
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0hybridflow-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims[port] = claim
    return True


def _let_go_the_oldest(kept: int) -> None:
    while len(_claims) > kept:
        claim = _claims.pop(next(iter(_claims)))
        if claim is not None:
            claim.close()


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
        return True


atexit.register(_let_go_the_oldest, 0)
