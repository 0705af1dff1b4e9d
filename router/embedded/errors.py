"""What can go wrong with the embedded PostgreSQL."""

_LOG_LINES = 15


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be used: the thing concerned, what is wrong, and the fix.

    `log` is the end of the server's own log, if there is one.
    """

    def __init__(self, thing: str, fault: str, cure: str, log: str = "") -> None:
        self.thing = thing
        self.fault = fault
        self.cure = cure
        self.log = "\n".join(log.strip().splitlines()[-_LOG_LINES:])
        text = f"{thing}: {fault}. {cure}."
        super().__init__(f"{text}\n{self.log}" if self.log else text)

    def as_json(self) -> dict[str, str]:
        """Return its parts, so that another process can raise it again."""
        return {"thing": self.thing, "fault": self.fault, "cure": self.cure, "log": self.log}
