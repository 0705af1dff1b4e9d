"""Where a tenant's address may lead: to the public, and where the deployment says so."""

from ipaddress import ip_address

import pytest

from router.configuration.addresses import LOOPBACK, Allowed, fault_of
from tests.for_each import for_each
from tests.unit.test_settings import faults_of, load

NOT_PUBLIC = [
    *("127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.5", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1"),
    *("fd00:ec2::254", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
    *(
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "3fff::1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
    ),
]
PUBLIC = ["8.8.8.8", "203.0.112.7", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@for_each("address", NOT_PUBLIC)
def test_what_is_not_public_is_refused(address):
    assert not Allowed().has_address(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_taken(address):
    assert Allowed().has_address(ip_address(address))


def test_a_network_of_ones_own_is_taken_and_no_other():
    allowed = Allowed.of(["10.1.0.0/16", "fd12::/64", "192.168.7.7"])
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "192.168.7.7"):
        assert allowed.has_address(ip_address(address))
    for address in ("10.2.0.1", "fd13::1", "192.168.7.8", "169.254.169.254", "127.0.0.1"):
        assert not allowed.has_address(ip_address(address))


def test_a_host_of_ones_own_is_known_by_its_name_and_port():
    allowed = Allowed.of(["evolution:8080", "Tickets.internal"])
    assert allowed.has_host("evolution", 8080)
    assert allowed.has_host("EVOLUTION.", 8080)
    assert allowed.has_host("tickets.internal", 443)
    for host, port in (("evolution", 5432), ("postgres", 8080), ("evolution.evil.example", 8080)):
        assert not allowed.has_host(host, port)


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:8080", "http://localhost:5678", "http://a.localhost", "http://[::1]"),
        *(
            "http://169.254.169.254/latest/meta-data",
            "https://[::ffff:10.0.0.1]/",
            "http://[fe80::1]",
        ),
        *("https://user:password@evolution.example", "http://host:port", "http://[::1"),
    ],
)
def test_what_plainly_cannot_be_meant_is_said_early(url):
    fault = fault_of(url, Allowed())
    assert fault
    assert "password@" not in fault


@pytest.mark.parametrize(
    "url", ["https://evolution.example", "http://8.8.8.8:8080/base", "no address", "ftp://x", ""]
)
def test_the_rest_is_judged_when_it_is_connected_to(url):
    assert fault_of(url, Allowed()) is None


def test_what_is_allowed_is_no_fault():
    assert fault_of("http://localhost:8080", Allowed.of(LOOPBACK)) is None
    assert fault_of("http://10.1.2.3", Allowed.of(["10.1.0.0/16"])) is None


def test_only_the_embedded_database_means_that_everything_is_on_this_machine():
    assert load().own_networks == LOOPBACK
    assert load(ALLOWED_NETWORKS="none").own_networks == ()
    assert load(DATABASE_URL="postgresql://u@h/d").own_networks == ()
    given = load(DATABASE_URL="postgresql://u@h/d", ALLOWED_NETWORKS="10.1.0.0/16, evolution:8080")
    assert given.own_networks == ("10.1.0.0/16", "evolution:8080")


@pytest.mark.parametrize("text", ["10.0.0.1/8", "300.1.1.1/8", "http://evolution", "a b", "x:port"])
def test_what_is_neither_network_nor_host_stops_the_start(text):
    assert "neither a network nor a host" in faults_of(ALLOWED_NETWORKS=text)["ALLOWED_NETWORKS"]


@pytest.mark.parametrize("name", ["WEBHOOK_NETWORKS", "TRUSTED_PROXIES"])
@pytest.mark.parametrize("text", ["10.0.0.1/8", "evolution", "203.0.113.0/24,?"])
def test_what_is_no_network_stops_the_start(name, text):
    assert "is not a network" in faults_of(**{name: text})[name]
