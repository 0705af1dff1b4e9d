"""What follows from the address of n8n's webhooks stays on their host."""

import pytest

from router.n8n.addresses import for_editor, public_api

HOSTS = ["http://localhost:5678", "https://webhook.example.com", "https://webhooks-acme.example"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("before", ["", "/n8n"])
def test_only_the_path_changes(host: str, before: str) -> None:
    webhooks = f"{host}{before}/webhook"
    assert for_editor(f"{webhooks}/a/webhook") == f"{host}{before}/webhook-test/a/webhook"
    assert public_api(webhooks) == f"{host}{before}/api/v1"
    assert public_api(f"{webhooks}/") == f"{host}{before}/api/v1"


def test_a_path_of_another_name_stays() -> None:
    assert for_editor("https://n8n.example/hooks/turn") == "https://n8n.example/hooks/turn"
    assert public_api("https://n8n.example/hooks") == "https://n8n.example/hooks/api/v1"
