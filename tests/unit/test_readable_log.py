"""`make run` on a terminal writes a log for a person, unless the configuration says which."""

import pytest

from router.configuration.settings import load_settings
from scripts.serve import readable_log


def test_a_person_at_a_terminal_reads_text() -> None:
    settings = load_settings({}, env_file=None)
    assert readable_log(settings, on_terminal=True) == {"LOG_FORMAT": "text"}


def test_what_is_no_terminal_gets_what_machines_read() -> None:
    assert readable_log(load_settings({}, env_file=None), on_terminal=False) == {}


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_is_configured_holds(form: str) -> None:
    settings = load_settings({"LOG_FORMAT": form}, env_file=None)
    assert readable_log(settings, on_terminal=True) == {}
