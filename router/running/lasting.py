"""What is loaded stays as long as the program: no collection of garbage looks through it again.

A look through the SDKs alone takes 0.06 s, in which nobody is served, and under load there is one
each second.
"""

import gc


class Lasting:
    """What the collections of a server's process leave out.

    Elsewhere they leave out nothing: tests begin many applications, and what there is then is not
    the program's alone.
    """

    def __init__(self) -> None:
        self._begun = False

    def begin(self) -> None:
        """The process is a server's: leave out what there is by now."""
        self._begun = True
        self.leave_out()

    def leave_out(self) -> None:
        """Leave out what was loaded since then as well."""
        if self._begun:
            gc.collect()
            gc.freeze()


lasting = Lasting()  # one for the process, as the collector itself is
