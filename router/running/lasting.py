"""What is loaded lasts as long as the program, so garbage collection skips it.

Collecting through the SDKs alone takes 0.06 s, during which nobody is served, and under load it
happens each second.
"""

import gc


class Lasting:
    """What garbage collection skips in a server's process.

    Elsewhere it skips nothing: tests begin many applications, and what exists then does not belong
    to the program alone.
    """

    def __init__(self) -> None:
        self._begun = False

    def begin(self) -> None:
        """The process is a server's: skip what exists by now."""
        self._begun = True
        self.leave_out()

    def leave_out(self) -> None:
        """Skip what was loaded since then as well."""
        if self._begun:
            gc.collect()
            gc.freeze()


lasting = Lasting()  # one for the process, as the collector itself is
