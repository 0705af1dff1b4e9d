"""Look for known weaknesses in the installed libraries: `python -m scripts.audit` (pip-audit).

Exit code 0: none is known in the libraries that could be looked up. 1: some are known, each with
the version that fixes it. Libraries that could not be looked up (no network, or a package index
without advisories) are named; with --strict they also cause exit code 1: `make audit STRICT=1`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.running import CannotGoOn, called

_COMMAND = (sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off")
_PATIENCE = 300  # seconds


@dataclass(frozen=True, slots=True)
class Weakness:
    """An advisory about an installed library."""

    library: str
    advisory: str
    mended_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """The known weaknesses, the number of libraries, and those that could not be looked up."""

    looked_up: int
    weaknesses: tuple[Weakness, ...]
    not_looked_up: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all libraries were looked up; false if there were none."""
        return self.looked_up > 0 and not self.not_looked_up


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog=called("scripts.audit"), description=__doc__)
    parser.add_argument(
        "--strict", action="store_true", help="fail if anything could not be looked up"
    )
    is_strict = parser.parse_args(arguments).strict
    try:
        audit = judge(_ask())
    except CannotGoOn as error:
        print(f"NOT AUDITED: {error}", file=sys.stderr)
        return 1 if is_strict else 0
    for line in told(audit):
        print(line)
    return 1 if audit.weaknesses or (is_strict and not audit.is_whole) else 0


def judge(answer: Iterable[dict[str, Any]]) -> Audit:
    """Return the result of pip-audit's list of dependencies."""
    libraries = list(answer)
    return Audit(
        looked_up=sum("skip_reason" not in library for library in libraries),
        weaknesses=tuple(
            Weakness(
                f"{library['name']} {library['version']}",
                found["id"],
                tuple(found.get("fix_versions", ())),
            )
            for library in libraries
            for found in library.get("vulns", ())
        ),
        not_looked_up=tuple(lib["name"] for lib in libraries if "skip_reason" in lib),
    )


def told(audit: Audit) -> list[str]:
    """Return the result as lines for a person."""
    lines = [
        f"{weak.library}: {weak.advisory}, fixed in {', '.join(weak.mended_in) or 'no version'}"
        for weak in audit.weaknesses
    ]
    lines.append(f"{audit.looked_up} libraries looked up, {len(audit.weaknesses)} weaknesses known")
    if not audit.looked_up and not audit.not_looked_up:
        lines.append("NOT AUDITED: no library was found")
    if audit.not_looked_up:
        lines.append(
            f"NOT AUDITED: {len(audit.not_looked_up)} libraries: this package index has no"
            " advisories about them. Run this where pypi.org can be reached"
        )
    return lines


def _ask() -> list[dict[str, Any]]:
    try:
        done = subprocess.run(  # noqa: S603 - our own command line
            _COMMAND, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
        raise CannotGoOn(f"pip-audit gave no answer ({type(error).__name__})") from None
    return found


if __name__ == "__main__":
    sys.exit(main())
