"""What is said of pip-audit's findings."""

import pytest

from scripts import audit as auditing
from scripts.audit import judge, told
from scripts.running import CannotGoOn

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
    assert told(audit)[0] == "requests 2.19.0: PYSEC-2018-28, fixed in 2.20.0"


def test_what_could_not_be_looked_up_is_not_passed_over():
    audit = judge([CLEAN, UNKNOWN])
    assert (audit.looked_up, audit.weaknesses) == (1, ())
    assert told(audit)[-1].startswith("NOT AUDITED: 1 libraries")


@pytest.mark.parametrize(
    ("answer", "plain", "strict"),
    [
        ([CLEAN], 0, 0),
        ([CLEAN, WEAK], 1, 1),
        ([CLEAN, UNKNOWN], 0, 1),
        ([UNKNOWN], 0, 1),
        ([], 0, 1),
        (CannotGoOn("there is no network"), 0, 1),
    ],
    ids=["clean", "weak", "partly unknown", "all unknown", "nothing found", "no answer"],
)
def test_what_was_not_looked_up_is_in_the_exit_status_when_that_is_asked(
    answer: list[dict[str, object]] | CannotGoOn,
    plain: int,
    strict: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def ask() -> list[dict[str, object]]:
        if isinstance(answer, CannotGoOn):
            raise answer
        return answer

    monkeypatch.setattr(auditing, "_ask", ask)
    assert auditing.main([]) == plain
    assert auditing.main(["--strict"]) == strict
    said = capsys.readouterr()
    assert ("NOT AUDITED" in said.out + said.err) == (plain != strict)
