"""The types that the console's scripts say of themselves."""

import pytest

from tests.console.npm import check_types


@pytest.mark.n8n
def test_the_types_of_the_scripts_hold():
    assert check_types() == ""
