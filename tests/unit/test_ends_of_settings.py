"""What the API says of a tenant's setting names where it ends."""

import pytest

from router.api.tenant_values import NewTenant, TenantValues
from router.configuration.tenant_settings import SETTINGS

TEXTS = [each for each in SETTINGS if each.form == "text" and each.longest]


@pytest.mark.parametrize("model", [TenantValues, NewTenant])
@pytest.mark.parametrize("setting", TEXTS, ids=lambda each: each.name)
def test_a_text_says_how_long_it_may_be(setting, model):
    said = model.model_json_schema()["properties"][setting.name]["description"]
    assert said.endswith(f"; at most {setting.longest:,} characters")


def test_replies_of_a_loop_say_how_many_count():
    said = TenantValues.model_json_schema()["properties"]["loop_replies"]["description"]
    assert "more than 100 count as 100" in said
