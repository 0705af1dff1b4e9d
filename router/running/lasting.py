"""Loaded modules stay as long as the program, so garbage collection skips them.

Walking through the SDKs alone takes 0.06 s, in which nothing else runs; under load it would happen
every second.
"""

import gc

from router import GC_THRESHOLD


class Lasting:
    """The objects that garbage collection skips in a server's process.

    In other processes it skips nothing: tests start many applications, and the objects that exist
    then are not only the program's.
    """

    def __init__(self) -> None:
        self._begun = False

    def begin(self) -> None:
        """This process is a server: skip everything that exists now."""
        self._begun = True
        self.leave_out()
        gc.set_threshold(*GC_THRESHOLD)

    def leave_out(self) -> None:
        """Also skip what was loaded since then."""
        if self._begun:
            gc.collect()
            gc.freeze()


lasting = Lasting()  # one for the process, like the collector itself
