"""SQL that has passed is not looked at again, until it or the rules change."""

from pathlib import Path

import pytest

from tests import changed_sql

SOUND, UNSOUND = "select 1 as one;\n", "SELECT 1 as one;\n"


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the files that sqlfluff was given, each time."""
    given: list[list[str]] = []

    def note(files: list[Path]) -> int:
        given.append([file.name for file in files])
        return int(any(file.read_text() == UNSOUND for file in files))

    monkeypatch.setattr(changed_sql, "_judged", note)
    return given


def written(folder: Path, **texts: str) -> list[Path]:
    for name, text in texts.items():
        (folder / f"{name}.sql").write_text(text)
    return sorted(folder.glob("*.sql"))


def test_only_what_has_changed_is_judged(tmp_path: Path, judged: list[list[str]]):
    passed = tmp_path / "cache" / "passed"
    files = written(tmp_path, a=SOUND, b=f"{SOUND}select 2 as two;\n")
    assert changed_sql.lint(files, passed, "rules") == 0
    assert changed_sql.lint(files, passed, "rules") == 0
    assert judged == [["a.sql", "b.sql"]]
    files = written(tmp_path, b=f"{SOUND}select 3 as three;\n", c=f"{SOUND}\n")
    assert changed_sql.lint(files, passed, "rules") == 0
    assert judged[1:] == [["b.sql", "c.sql"]]


def test_other_rules_judge_all_again(tmp_path: Path, judged: list[list[str]]):
    passed = tmp_path / "cache" / "passed"
    files = written(tmp_path, a=SOUND)
    for rules in ("rules", "other rules"):
        assert changed_sql.lint(files, passed, rules) == 0
    assert len(judged) == 2


def test_what_did_not_pass_is_judged_until_it_does(tmp_path: Path, judged: list[list[str]]):
    passed = tmp_path / "cache" / "passed"
    files = written(tmp_path, a=SOUND, b=UNSOUND)
    for _ in range(2):
        assert changed_sql.lint(files, passed, "rules") == 1
    assert judged == [["a.sql", "b.sql"]] * 2
    files = written(tmp_path, b=f"{SOUND}\n")
    assert changed_sql.lint(files, passed, "rules") == 0


def test_what_passed_elsewhere_is_not_forgotten(tmp_path: Path, judged: list[list[str]]):
    passed = tmp_path / "cache" / "passed"
    files = written(tmp_path, a=SOUND, b=f"{SOUND}\n")
    for some in ([files[0]], [files[1]], files):
        assert changed_sql.lint(some, passed, "rules") == 0
    assert judged == [["a.sql"], ["b.sql"]]


def test_files_and_folders_may_be_named(
    tmp_path: Path, judged: list[list[str]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(changed_sql, "PASSED", tmp_path / "cache" / "passed")
    (tmp_path / "below").mkdir()
    (one,) = written(tmp_path, a=SOUND)
    written(tmp_path / "below", b=f"{SOUND}\n")
    assert changed_sql.main([str(one), str(tmp_path / "below")]) == 0
    assert judged == [["a.sql", "b.sql"]]


def test_the_rules_are_the_projects(tmp_path: Path):
    project = tmp_path / "pyproject.toml"
    text = changed_sql.SETTINGS.read_text()
    project.write_text(text.replace('RF04"', 'RF04,CP01"'))
    assert changed_sql.how(project) != changed_sql.how(changed_sql.SETTINGS)
    project.write_text(text.replace('name = "hybridflow"', 'name = "other"'))
    assert changed_sql.how(project) == changed_sql.how(changed_sql.SETTINGS)


def test_sqlfluff_is_what_judges(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    passed = tmp_path / "cache" / "passed"
    assert changed_sql.lint(written(tmp_path, a=UNSOUND), passed, "rules") == 1
    assert "CP01" in capfd.readouterr().out
    assert not passed.exists()
