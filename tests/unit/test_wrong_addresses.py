"""Of some addresses no request can be made: said in our own words, before anything leaves."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from pydantic import SecretStr

from router.api.probing import make_probe
from router.configuration.addresses import Allowed, fault_of
from router.configuration.settings import load_settings
from router.evolution.client import WebhookSettings
from router.evolution.errors import EvolutionAway, EvolutionRefused
from router.evolution.exchange import Instance
from router.outbound.client import AddressWrong, open_tenant_http
from router.outbound.own import open_own_http
from tests.evolution import WholeEvolution

WRONG = [
    "http://xn--a",
    "http://xn--a.example/x",
    "http://xn--/",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:65536/x",
    "http://localhost:99999/x",
    "http://a\u0000b/",
    "http://[::1/x",
    "http://" + "a" * 70_000,
    "http://h\u00e9" + "\u0301" * 70 + ".example",
    "http://127.0.0.1:1/\ud800",
    "http://127.0.0.1:-1/",
    "http://127.0.0.1:port/",
]
# They can be asked for, and lead nowhere.
NOWHERE = ["http://127.0.0.1:1", "http://" + "a" * 64 + ".example", "http://a..example/"]
INSTANCE = Instance("http://evolution.example", SecretStr("key-of-evolution"), "padaria")


@pytest.fixture(params=["tenants", "own"])
async def http(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    settings = load_settings({"ALLOWED_NETWORKS": "127.0.0.0/8,localhost"}, env_file=None)
    opened = open_tenant_http(settings, 5) if request.param == "tenants" else open_own_http(5)
    async with opened as client:
        yield client


@pytest.mark.parametrize("url", WRONG, ids=lambda url: ascii(url[:30]))
async def test_a_wrong_address_is_an_error_of_ours(http: httpx.AsyncClient, url: str):
    with pytest.raises(AddressWrong):
        await http.post(url, json={"text": "oi"})


@pytest.mark.parametrize("url", NOWHERE, ids=lambda url: ascii(url[:30]))
async def test_one_that_leads_nowhere_is_an_error_of_the_connection(
    http: httpx.AsyncClient, url: str
):
    with pytest.raises(httpx.TransportError):
        await http.post(url, json={"text": "oi"})


@pytest.mark.parametrize("url", [*WRONG, *NOWHERE], ids=lambda url: ascii(url[:30]))
async def test_a_send_that_cannot_have_left_is_not_in_doubt(http: httpx.AsyncClient, url: str):
    client = WholeEvolution(http)
    with pytest.raises((EvolutionRefused, EvolutionAway)):
        await client.send_text(replace(INSTANCE, server_url=url), "5511955550001", "oi")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
async def test_nor_is_one_that_cannot_be_written(http: httpx.AsyncClient, value: object):
    with pytest.raises(EvolutionRefused):
        await WholeEvolution(http).send(
            INSTANCE, "message/sendText", {"number": "5511955550001", "text": value}
        )


async def test_what_is_wrong_is_said_without_what_was_to_be_sent(http: httpx.AsyncClient):
    with pytest.raises(AddressWrong) as raised:
        await http.post("http://127.0.0.1:1/", headers={"apikey": "s\u00e9cret-\u2603"})
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize("url", WRONG, ids=lambda url: ascii(url[:30]))
def test_a_wrong_address_is_not_saved(url: str):
    assert fault_of(url, Allowed.of(("127.0.0.0/8", "localhost"))) is not None


@pytest.mark.parametrize(
    "key",
    [
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZI\n-----END PUBLIC KEY-----",
        "ssh-rsa AAAAB3NzaC1yc2E",
        "-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_of_a_key_that_makes_no_token_no_probe_is_made(key: str):
    stored = WebhookSettings("http://router.example", True, (), {"jwt_key": key})
    with pytest.raises(ValueError, match="jwt_key"):
        make_probe(stored, "padaria")
