"""How much one connection, and all of them, may use of the process."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """`connections` at once, of them `per_address` from one address; the rest is of each one.

    `head_bytes` are those of a request line with its headers, or of anything else that is no body.
    `pipelined` requests may wait behind the one that is being answered. A head must be there in
    `head_seconds`; between two requests a connection may be silent for `idle_seconds`; an answer
    may stand still for `write_seconds`; and what is closed is gone after `linger_seconds`.
    """

    connections: int = 2000
    per_address: int = 500
    head_bytes: int = 65_536
    header_lines: int = 100
    pipelined: int = 8
    head_seconds: float = 10.0
    idle_seconds: float = 5.0
    write_seconds: float = 30.0
    linger_seconds: float = 5.0
