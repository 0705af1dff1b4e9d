"""Whose address counts: the connection's, or what trusted proxies say."""

from ipaddress import ip_address, ip_network

from router.http.callers import caller_address
from tests.for_each import for_each

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
PROXY, EVOLUTION, LIAR = "10.0.0.1", "203.0.113.5", "198.51.100.66"


@for_each(
    ("peer", "forwarded", "caller"),
    [
        (EVOLUTION, [], EVOLUTION),
        # Whoever is no trusted proxy may say what it likes.
        (LIAR, [EVOLUTION], LIAR),
        (LIAR, [f"{EVOLUTION}, {PROXY}"], LIAR),
        (PROXY, [EVOLUTION], EVOLUTION),
        (PROXY, [f"{EVOLUTION}, 10.0.0.2, 10.0.0.3"], EVOLUTION),
        # The first address is what the caller itself has sent.
        (PROXY, [f"{EVOLUTION}, {LIAR}"], LIAR),
        (PROXY, [EVOLUTION, LIAR], LIAR),
        (PROXY, [f"{LIAR},{EVOLUTION}"], EVOLUTION),
        (PROXY, [f"{EVOLUTION}:41234"], EVOLUTION),
        (PROXY, ["[2001:db8::7]:41234"], "2001:db8::7"),
        (PROXY, ["::ffff:203.0.113.5"], EVOLUTION),
        (f"::ffff:{PROXY}", [EVOLUTION], EVOLUTION),
        ("fd00::1", [EVOLUTION], EVOLUTION),
        # A proxy that asks for itself, and chains of proxies only.
        (PROXY, [], PROXY),
        (PROXY, ["10.0.0.9"], "10.0.0.9"),
        # What cannot be read is nobody's address.
        (PROXY, ["unknown"], None),
        (PROXY, [f"{EVOLUTION}, _hidden"], None),
        (PROXY, [f"{EVOLUTION},"], None),
        (None, [EVOLUTION], None),
        ("testclient", [], None),
    ],
)
def test_only_what_trusted_proxies_add_is_believed(peer, forwarded, caller):
    found = caller_address(peer, forwarded, PROXIES)
    assert found == (None if caller is None else ip_address(caller))


def test_without_trusted_proxies_nobody_is_believed():
    assert caller_address("127.0.0.1", [EVOLUTION], []) == ip_address("127.0.0.1")
