"""How much of the process one connection, and all connections together, may use."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits: `connections` at once in all, and `per_address` from one address.

    The rest holds for each connection. A request line with its headers, or anything else that is
    not a body, has at most `head_bytes`. `pipelined` requests may wait behind the one that is being
    answered. A head must be complete within `head_seconds`. A connection may be silent for
    `idle_seconds` between two requests. Its client may read nothing of an answer for
    `write_seconds`. A closed connection is cut after `linger_seconds`.
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
