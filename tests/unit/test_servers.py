"""Which Evolution servers are shown EVOLUTION_API_KEY, and what a tenant's address may be."""

import pytest
from pydantic import SecretStr

from router.configuration.servers import Servers, shown_server
from router.evolution.errors import EvolutionRefused
from router.state.calls.model import StoredInstance
from router.state.calls.tenants import OtherServer
from router.tenants.instance import InstanceKeys
from router.tenants.lost_servers import lost_tenants, sentences, summary
from router.tenants.sealing import Vault
from tests.for_each import for_each
from tests.unit.test_settings import faults_of, load

NAMED = ("http://evolution:8080", "https://host.example/evo")
SERVERS = Servers.of(NAMED)
KEY = SecretStr("the-key-of-the-deployment")

ELSEWHERE = [
    *("https://evil.example", "http://evolution:8081", "https://evolution:8080"),
    *("http://evolution", "http://evolution.evil.example:8080", "http://xevolution:8080"),
    *("https://host.example", "https://host.example:8443/evo", "http://host.example/evo"),
]
"""Addresses that may be, of servers that the deployment does not name."""

NO_SERVER = [
    *("http://evolution:8080/chat/findMessages/other?x=", "http://evolution:8080/?x="),
    *(
        "http://evolution:8080#x",
        "http://evolution:8080?instanceName=other",
        "http://evolution:8080/#",
    ),
    *(
        "http://evolution:8080/evo",
        "https://host.example/evo/more",
        "https://host.example/evo/../x",
    ),
    *("https://host.example/%65vo", "https://host.example/EVO", "https://host.example//evo"),
    *(
        "http://evolution:8080@evil.example",
        "http://a:b@evolution:8080",
        "http://evolution:8080\\@x",
    ),
    *(
        "http://evolution:8080;x=1",
        "http://evolution:",
        "http://evolution:99999",
        "http://evolution:0",
    ),
    *("http://evo lution:8080", "http://evolution:8080\n", "http://evolution:8080\x00", "http://"),
    *("http://.:8080", "http:///evolution:8080", "//evolution:8080", "ftp://evolution:8080", ""),
    *("http://[::1", "http://evolution%2e:8080"),
]


@pytest.mark.parametrize(
    "spelling",
    [
        *(
            "http://evolution:8080",
            "http://evolution:8080/",
            "HTTP://Evolution:8080",
            "http://evolution.:8080",
        ),
        *("https://host.example/evo", "https://HOST.example:443/evo/"),
    ],
)
def test_a_named_server_is_known_in_every_spelling_and_asked_in_the_deployments(spelling):
    assert SERVERS.has(spelling)
    assert SERVERS.fault_of(spelling) is None
    assert SERVERS.address_of(spelling) in NAMED
    assert keys(*NAMED).instance(tenant(spelling)).api_key == KEY


@pytest.mark.parametrize("url", ELSEWHERE)
def test_no_other_server_is_shown_the_deployments_key(url):
    for servers in (NAMED, ()):
        with pytest.raises(EvolutionRefused):
            keys(*servers).instance(tenant(url))
    if url.count("/") == 2:
        own = keys(*NAMED).instance(tenant(url, "key-of-its-own"))
        assert own.api_key.get_secret_value() == "key-of-its-own"


@for_each("url", NO_SERVER)
def test_what_goes_on_behind_host_and_port_is_no_server_whoever_has_the_key(url):
    assert not SERVERS.has(url)
    assert SERVERS.fault_of(url) is not None
    for own in (None, "key-of-its-own"):
        with pytest.raises(EvolutionRefused):
            keys(*NAMED).instance(tenant(url, own))


def test_why_there_is_no_key_is_said_with_the_line_to_set():
    with pytest.raises(EvolutionRefused, match=r"EVOLUTION_SERVERS=http://evo\.example:81$"):
        keys().instance(tenant("http://evo.example:81/"))
    with pytest.raises(EvolutionRefused, match=r"EVOLUTION_SERVERS with http://evo\.example added"):
        keys(*NAMED).instance(tenant("http://evo.example"))
    with pytest.raises(EvolutionRefused, match="set the tenant's evo_api_key or EVOLUTION_API_KEY"):
        InstanceKeys(None, servers=SERVERS).instance(tenant("http://evolution:8080"))


@pytest.mark.parametrize("secret", ["http://e.example/s3cret", "http://e.example?s3cret"])
def test_what_is_behind_host_and_port_is_not_repeated(secret):
    assert "s3cret" not in shown_server(secret)
    with pytest.raises(EvolutionRefused) as refused:
        keys().instance(tenant(secret))
    assert "s3cret" not in str(refused.value)


def test_servers_are_read_from_a_comma_list_without_a_slash_at_the_end():
    settings = load(EVOLUTION_SERVERS=" http://evolution:8080/ , https://host.example/evo/ ")
    assert settings.evolution_servers == NAMED
    assert load().evolution_servers == ()


@pytest.mark.parametrize(
    "text",
    ["evolution:8080", "http://e.example?x=1", "http://e.example/a/../b", "http://a:b@e", "*"],
)
def test_what_is_no_server_stops_the_start(text):
    assert "EVOLUTION_SERVERS" in faults_of(EVOLUTION_SERVERS=text)


def test_each_tenant_that_lost_its_key_is_named_with_the_line_to_set():
    found = [
        group("http://lost.example", "shop", "pharmacy", tenants=40),
        group("HTTP://evolution:8080/", "served"),
        group("https://own.example", "payer", own_key=True),
        group("http://evolution:8080/chat/x?s3cret", "sly", own_key=True),
    ]
    lost, sly = sentences(lost_tenants(found, NAMED, has_key=True))
    assert lost.startswith("shop, pharmacy and 38 more: EVOLUTION_API_KEY is not sent to")
    assert f"EVOLUTION_SERVERS={','.join(NAMED)},http://lost.example " in lost
    assert sly.startswith("sly: no request is sent to http://evolution:8080")
    assert "s3cret" not in sly
    assert lost_tenants(found[:1], (), has_key=False) == ()
    many = [group(f"http://e{i}.example", f"t{i}") for i in range(23)]
    assert sentences(lost_tenants(many, (), has_key=True))[20:] == ("and 3 more servers",)


def test_anybody_is_told_the_names_and_no_address():
    found = [
        group("http://lost.internal", "shop", "5511955550001", tenants=40),
        group("http://user:s3cret@sly.internal", "sly", own_key=True),
    ]
    told = summary(lost_tenants(found, NAMED, has_key=True))
    assert told is not None
    assert told.startswith(
        "41 tenants cannot reach Evolution: shop, (number …01), sly and 38 more; the log"
    )
    assert "internal" not in told
    assert "s3cret" not in told
    many = [group(f"http://e{i}.example", f"t{i}") for i in range(23)]
    assert "t19 and 3 more;" in str(summary(lost_tenants(many, (), has_key=True)))
    assert summary(()) is None


def keys(*servers: str) -> InstanceKeys:
    return InstanceKeys(KEY, Vault(()), Servers.of(servers))


def tenant(url: str, own: str | None = None) -> StoredInstance:
    key = None if own is None else SecretStr(own)
    return StoredInstance(tenant_id=1, instance_name="shop", evo_server_url=url, evo_api_key=key)


def group(url: str, *names: str, own_key: bool = False, tenants: int = 0) -> OtherServer:
    return OtherServer(
        evo_server_url=url, own_key=own_key, tenants=tenants or len(names), instances=names
    )


@pytest.mark.parametrize("name", [".", ".."])
def test_no_instance_is_called_as_a_step_in_a_path(name: str) -> None:
    with pytest.raises(EvolutionRefused, match="no instance can be called"):
        keys("http://evolution:8080").reach(name, "http://evolution:8080", KEY)
