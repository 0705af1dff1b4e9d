"""One folder of tests in several processes beside one another: which files each of them takes."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Part:
    """The `number`-th of so many parts (1 = first): the files are dealt out by their names."""

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the part that `1/2` means."""
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and 0 < int(number) <= int(of)):
            raise argparse.ArgumentTypeError(f"{text!r} is no part, such as 1/2")
        return cls(int(number), int(of))

    def has(self, path: Path) -> bool:
        """Whether the path is this part's. Folders, and files without tests, are everybody's."""
        files = sorted(path.parent.glob("test_*.py"))
        return path not in files or files.index(path) % self.of == self.number - 1
