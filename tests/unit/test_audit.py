"""What is said of pip-audit's findings."""

from scripts.audit import judge, told

CLEAN = {"name": "httpx", "version": "0.28.1", "vulns": []}
WEAK = {
    "name": "requests",
    "version": "2.19.0",
    "vulns": [{"id": "PYSEC-2018-28", "fix_versions": ["2.20.0"], "aliases": []}],
}
UNKNOWN = {"name": "hybridflow", "skip_reason": "Dependency not found on PyPI"}


def test_a_weakness_is_told_with_the_version_that_mends_it():
    audit = judge([CLEAN, WEAK])
    assert audit.looked_up == 2
    assert told(audit)[0] == "requests 2.19.0: PYSEC-2018-28, mended in 2.20.0"


def test_what_could_not_be_looked_up_is_not_passed_over():
    audit = judge([CLEAN, UNKNOWN])
    assert (audit.looked_up, audit.weaknesses) == (1, ())
    assert told(audit)[-1].startswith("NOT AUDITED: 1 libraries")
