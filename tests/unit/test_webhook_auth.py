"""The webhook's door: every way in that Evolution has, and no other."""

import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from router.intake.auth import JWT_LEEWAY_SECONDS, Verdict, examine

SECRET = "a-made-up-secret-of-some-forty-characters"
NEXT = "another-made-up-secret-for-the-rotation-of-it"
NOW = 1_788_928_000.0


def authorise(headers: Any, query_token: str | None, secrets: list[str], now: float) -> bool:
    return examine(headers, query_token, secrets, now) is Verdict.ACCEPTED


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token as Evolution makes it: good for 600 seconds; a claim given as None is left out."""
    full = {"iat": NOW, "exp": NOW + 600, "app": "evolution", "action": "webhook"} | claims
    kept = {name: value for name, value in full.items() if value is not None}
    key = secret.encode().ljust(64, b"\x00")
    return jwt.encode(kept, key, algorithm=algorithm)


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


def unsigned(header: dict[str, object], claims: object, signature: str = "") -> str:
    parts = (urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    return ".".join([*(part.decode() for part in parts), signature])


@pytest.mark.parametrize(
    ("headers", "query_token"),
    [
        ({"X-Webhook-Secret": SECRET}, None),
        ({"x-webhook-secret": SECRET}, None),
        ({"X-Webhook-Secret": f" {SECRET} "}, None),
        (bearer(SECRET), None),
        ({"authorization": f"bearer {SECRET}"}, None),
        (bearer(token()), None),
        ({}, SECRET),
        ({"X-Webhook-Secret": "wrong"}, SECRET),
        ({"X-Webhook-Secret": SECRET}, "wrong"),
        (Headers({"X-Webhook-Secret": SECRET}), None),
        (Headers(bearer(token())), None),
    ],
)
def test_every_way_in_which_evolution_can_present_the_secret_is_accepted(headers, query_token):
    assert authorise(headers, query_token, [SECRET], NOW)


@pytest.mark.parametrize(
    ("headers", "query_token"),
    [
        ({"X-Webhook-Secret": SECRET[:-1]}, None),
        ({"X-Webhook-Secret": SECRET + "x"}, None),
        ({"X-Webhook-Secret": SECRET.upper()}, None),
        ({"Authorization": SECRET}, None),
        ({"Authorization": f"Basic {SECRET}"}, None),
        ({"X-Other": SECRET}, None),
        ({}, SECRET + "\x00"),
        (bearer(token("not the secret")), None),
        ({}, token()),
    ],
)
def test_anything_else_is_refused(headers, query_token):
    assert not authorise(headers, query_token, [SECRET], NOW)


def test_a_request_without_any_secret_is_told_from_one_with_a_wrong_one():
    assert examine({}, None, [SECRET], NOW) is Verdict.NOTHING_PRESENTED
    assert examine({"X-Webhook-Secret": ""}, "", [SECRET], NOW) is Verdict.NOTHING_PRESENTED
    assert examine({"X-Webhook-Secret": "wrong"}, None, [SECRET], NOW) is Verdict.WRONG


@pytest.mark.parametrize("secrets", [[], [""], ["  "], ["", "\t"]])
@pytest.mark.parametrize("presented", ["", " ", SECRET])
def test_no_secret_configured_means_closed(secrets, presented):
    for headers in ({"X-Webhook-Secret": presented}, bearer(presented), bearer(token(presented))):
        assert examine(headers, presented, secrets, NOW) is Verdict.NO_SECRET_CONFIGURED


@pytest.mark.parametrize("secret", [SECRET, NEXT])
def test_two_secrets_hold_at_once_while_one_replaces_the_other(secret):
    secrets = [SECRET, "", NEXT]
    assert authorise({"X-Webhook-Secret": secret}, None, secrets, NOW)
    assert authorise(bearer(secret), None, secrets, NOW)
    assert authorise(bearer(token(secret)), None, secrets, NOW)
    assert authorise({}, secret, secrets, NOW)


def test_an_empty_secret_beside_a_real_one_opens_nothing():
    assert not authorise({}, "", ["", SECRET], NOW)
    assert not authorise(bearer(token("")), None, ["", SECRET], NOW)


@pytest.mark.parametrize(
    ("late", "verdict"),
    [
        (-600, Verdict.ACCEPTED),
        (0, Verdict.ACCEPTED),
        (20 * 60, Verdict.ACCEPTED),
        (JWT_LEEWAY_SECONDS, Verdict.ACCEPTED),
        (JWT_LEEWAY_SECONDS + 0.001, Verdict.EXPIRED),
        (86_400, Verdict.EXPIRED),
    ],
)
def test_a_token_holds_until_the_last_retry_and_not_longer(late, verdict):
    made = token()
    assert examine(bearer(made), None, [SECRET, NEXT], NOW + 600 + late) is verdict


def test_the_leeway_is_twenty_five_minutes():
    assert JWT_LEEWAY_SECONDS == 1500


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": [NOW]},
        {"app": None},
        {"app": "other"},
        {"app": ["evolution"]},
        {"action": None},
        {"action": "login"},
    ],
)
def test_a_token_with_other_claims_is_refused(claims):
    assert examine(bearer(token(**claims)), None, [SECRET], NOW) is Verdict.WRONG


@pytest.mark.parametrize(
    "claims", [{"iat": None}, {"iat": "x"}, {"nbf": NOW + 99}, {"aud": "x"}, {"sub": 7}, {"jti": 7}]
)
def test_claims_that_evolution_does_not_mean_do_not_matter(claims):
    assert authorise(bearer(token(**claims)), None, [SECRET], NOW)


CLAIMS = {"iat": NOW, "exp": NOW + 600, "app": "evolution", "action": "webhook"}


@pytest.mark.parametrize(
    "forged",
    [
        unsigned({"alg": "none", "typ": "JWT"}, CLAIMS),
        unsigned({"alg": "None", "typ": "JWT"}, CLAIMS),
        unsigned({"alg": "HS256", "typ": "JWT"}, CLAIMS),
        unsigned({"alg": ["HS256"]}, CLAIMS),
        unsigned({}, CLAIMS),
        unsigned({"alg": "HS256"}, []),
        token(algorithm="HS512"),
        token(""),
        token()[:-2],
        "..",
        "a.b.c",
        "é.é.é",
        "\ud800.\ud800.\ud800",
        unsigned({"alg": "HS256"}, CLAIMS, "A" * 5000),
        urlsafe_b64encode(b"[" * 2900).decode() + ".e30.AA",
    ],
)
def test_a_forged_token_is_refused(forged):
    assert examine(bearer(forged), None, [SECRET], NOW) is Verdict.WRONG


@pytest.mark.parametrize("secret", ["k", "sécret-ção", "chave-🔑-da-padaria", "with space inside"])
def test_short_and_non_ascii_secrets_work_in_every_form(secret):
    assert authorise({"X-Webhook-Secret": secret}, None, [secret], NOW)
    assert authorise(bearer(secret), None, [secret], NOW)
    assert authorise(bearer(token(secret)), None, [secret], NOW)
    assert authorise({}, secret, [secret], NOW)
    assert not authorise({}, secret + "é", [secret], NOW)


def test_every_candidate_is_compared_with_every_secret(monkeypatch: pytest.MonkeyPatch):
    compared = []
    real = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    made = token()
    monkeypatch.setattr(hmac, "compare_digest", watched)
    assert authorise({"X-Webhook-Secret": SECRET, **bearer(made)}, SECRET, [SECRET, NEXT], NOW)
    # the header, the bearer and the query as they are, and the bearer as a token; with two secrets
    assert len(compared) == (3 + 1) * 2


@given(
    headers=st.dictionaries(
        st.sampled_from(["X-Webhook-Secret", "Authorization", "Cookie"]),
        st.text() | st.text().map("Bearer {}".format),
    ),
    query_token=st.none() | st.text(),
    secrets=st.lists(st.text(), max_size=3),
    now=st.floats(allow_nan=False),
)
def test_nothing_that_is_presented_raises(headers, query_token, secrets, now):
    assert examine(headers, query_token, [*secrets, SECRET], now) in Verdict


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5),
    st.text(),
)
def test_a_well_signed_token_with_any_expiry_never_raises(expires, app):
    try:
        made = token(exp=expires, app=app)
    except (ValueError, TypeError, UnicodeEncodeError):
        return
    assert examine(bearer(made), None, [SECRET], NOW) in Verdict
