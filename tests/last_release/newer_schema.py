"""What a later schema may do beside what the last release's tests expect: a plugin of pytest.

An answer may have more keys: that release's router ignores what it does not know. And what
`CHANGED` names is otherwise on purpose, and no router of that release depends on it.
"""

from typing import Any

import pytest

from tests import sql_headers

# By file and test of release 0.2.0: why a router of it does not mind.
CHANGED = {
    "test_answers.py::test_the_schema_says_the_version_that_the_program_was_written_for": (
        "the schema is newer, which that release's router tells and bears"
    ),
    "test_row_security.py::test_what_is_secret_is_shown_to_no_member"
    "_and_anonymous_callers_see_no_table": "members read the notes of their conversations, too",
    "test_row_security.py::test_every_table_with_a_tenant_is_closed_or_has_a_policy": (
        "it lists the tables, and there is one more"
    ),
    "test_tenant_settings.py::test_what_is_refused_in_other_words_has_a_check"
    "_and_each_check_has_words": "it lists the settings, and there are more",
    "test_tenant_settings.py::test_each_setting_is_a_column"
    "_and_each_column_is_one_or_is_the_states": "it lists the settings, and there are more",
    "test_loops.py::test_machines_that_never_repeat_themselves_are_noticed_by_their_rate": (
        "it plays them at even times, by which they are noticed now"
    ),
    "test_kept_promises.py::test_whom_gap_repair_took_for_a_greeting"
    "_and_is_another_client_takes_over": "auto_reply_seconds holds for other clients, too",
    "test_people.py::test_an_export_in_pages_has_what_one_at_once_has": (
        "an export by that release's router has no notes, which it does not know"
    ),
    "test_bounded_work.py::test_a_claim_does_not_read_every_turn_that_it_cannot_take": (
        "on a busy machine a turn of its own becomes due meanwhile; the test of now ends it first"
    ),
    "test_kept_pauses.py::test_a_merged_pause_lasts_as_long_as_the_longer_one": (
        "a handoff that nobody took has no end of its own: people are told again first"
    ),
    "test_kept_pauses.py::test_what_comes_on_top_of_a_pause_makes_it_no_shorter": (
        "a handoff that nobody took has no end of its own: people are told again first"
    ),
    "test_kept_pauses.py::test_a_refused_reply_while_a_part_leaves_keeps_the_operators_pause": (
        "a handoff that nobody took has no end of its own: people are told again first"
    ),
    "test_kept_pauses.py::test_a_handoff_while_a_part_leaves_keeps_the_operators_pause": (
        "a handoff that nobody took has no end of its own: people are told again first"
    ),
}


# What counts rows that are read, and so needs a new database; that release knew no other.
_OWN_DATABASE = ("test_bounded_work.py::", "test_dear_tenants.py::", "_is_found_by_its_index")


def pytest_configure(config: pytest.Config) -> None:
    """Let answers have keys that the release's headers do not name."""
    config.addinivalue_line("markers", "own_database: gets a new database")
    config.addinivalue_line("markers", "spoils: changes more than rows")
    strict = sql_headers.Shape.misfits

    def misfits(self: sql_headers.Shape, given: object, where: str = "") -> list[str]:
        return [
            fault for fault in strict(self, given, where) if not fault.endswith(" is not named")
        ]

    sql_headers.Shape.misfits = misfits  # type: ignore[method-assign]


def pytest_collection_modifyitems(config: Any, items: list[pytest.Item]) -> None:
    """Leave out what is otherwise on purpose."""
    left_out = [item for item in items if _name(item) in CHANGED]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if _name(item) not in CHANGED]
    for item in items:
        if any(words in item.nodeid for words in _OWN_DATABASE):
            item.add_marker(pytest.mark.own_database)
    modules = {getattr(item, "module", None) for item in items}
    for module in modules:
        if getattr(module, "__name__", "").endswith("test_prune"):
            _forget_what_is_new(module)


def _forget_what_is_new(module: Any) -> None:
    """Leave out of what a prune did what that release has not, and which goes by itself."""

    async def pruned(talk: Any, **how: Any) -> dict[str, int]:
        done = await module.prune(talk, **how)
        return {name: count for name, count in done.items() if count and name != "changes"}

    module.pruned = pruned


def _name(item: pytest.Item) -> str:
    return item.nodeid.rpartition("/")[2].partition("[")[0]
