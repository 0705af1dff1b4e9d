"""Who calls the API: keys with a role, and users of Supabase Auth who are members of tenants."""

import base64
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import jwt
import pytest

from loopback.supabase_auth import SupabaseAuth, legacy_token
from tests.scenarios.office import Office, open_office

ANA = "0198c0de-0000-7000-8000-00000000a11a"
SECRET = "the-legacy-secret-of-the-project-0123456789"
SERVICE_KEY = "sb_secret_0123456789abcdef"


@pytest.fixture
def auth() -> Iterator[SupabaseAuth]:
    with SupabaseAuth() as auth:
        yield auth


@pytest.fixture
async def office(database_url: str, auth: SupabaseAuth) -> AsyncIterator[Office]:
    async with open_office(
        database_url, SUPABASE_URL=auth.url, SUPABASE_SERVICE_ROLE_KEY=SERVICE_KEY
    ) as office:
        await office.talk.maria_writes("oi")
        yield office


async def ask(
    office: Office, shown: str, path: str = "/api/sessions", **more: Any
) -> httpx.Response:
    headers = {"X-API-Key": "", "Authorization": f"Bearer {shown}", "Idempotency-Key": "k-1"}
    method = more.pop("method", "GET")
    query = more.pop("query", {"tenant_id": 1})
    return await office.api.request(method, path, headers=headers, params=query, **more)


async def joins(office: Office, role: str, tenant_id: int = 1) -> None:
    path = f"/api/tenants/{tenant_id}/members/{ANA}"
    answer = await office.api.put(path, json={"role": role})
    assert answer.status_code == 200, answer.text


async def made(office: Office, role: str, tenant_ids: list[int] | None = None) -> Any:
    wanted = {"name": "dashboard", "role": role, "tenant_ids": tenant_ids}
    return await office.post("/api/api-keys", 201, json=wanted)


async def test_a_key_is_made_used_listed_and_revoked(office: Office):
    key = await made(office, "operator", [1])
    assert key["key"].startswith(key["starts_with"])
    assert (await ask(office, key["key"])).status_code == 200
    paused = await ask(office, key["key"], "/api/sessions/1/pause", method="POST")
    assert paused.status_code == 200
    (listed,) = (await office.get("/api/api-keys"))["items"]
    assert listed["last_used_at"] is not None
    assert key["key"] not in str(listed)
    await office.post(f"/api/api-keys/{key['id']}/revoke")
    answer = await ask(office, key["key"])
    assert answer.status_code == 401
    assert answer.json()["error"]["message"] == "the API key dashboard was revoked"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_role_that_does_not_do_is_403_and_another_tenant_404(office: Office):
    await office.talk.open_shop("pharmacy")
    key = (await made(office, "viewer", [1]))["key"]
    refused = await ask(office, key, "/api/sessions/1/pause", method="POST")
    assert refused.status_code == 403
    assert refused.json()["error"] == {
        "code": "forbidden", "message": "this needs the role operator, and dashboard is viewer",
    }  # fmt: skip
    assert (await ask(office, key, "/api/tenants/2")).status_code == 404
    assert (await ask(office, key, query={"tenant_id": 2})).status_code == 404
    assert (await ask(office, key, "/api/instances/pharmacy/qrcode")).status_code == 404
    tested = (await ask(office, key, "/api/instances/pharmacy/test-webhook")).json()
    assert tested["failed"] == "tenant"
    assert "no tenant has the instance pharmacy" in str(tested)


async def test_no_path_leads_from_one_tenant_into_another(office: Office):
    """Every operation of the document, asked for tenant 2 with the best key of tenant 1."""
    await office.talk.open_shop("pharmacy")
    await office.talk.maria_writes("segredo", instance="pharmacy")
    key = (await made(office, "admin", [1]))["key"]
    places = {
        "tenant_id": 2, "session_id": 2, "turn_id": 2, "name": "pharmacy", "user_id": ANA,
        "number": "5511955550001", "webhook_secret_id": 1, "api_key_id": 99,
        "note_id": 1, "message_id": 1,
    }  # fmt: skip
    bodies = {
        "/api/tenants": {"instance_name": "x", "evo_server_url": "https://evolution.example"},
        "/api/tenants/{tenant_id}": {"is_active": False},
        "/api/tenants/{tenant_id}/members/{user_id}": {"role": "admin"},
        "/api/api-keys": {"name": "x", "role": "viewer", "tenant_ids": [2]},
        "/api/turns/retry": {},
        "/api/sessions/{session_id}/labels": {"add": ["vip"]},
        "/api/sessions/{session_id}/owner": {"owner": "Ana"},
        "/api/sessions/{session_id}/notes": {"body": "x"},
        "/api/sessions/{session_id}/messages": {"text": "x"},
        "/api/tenants/{tenant_id}/files/{name}": {
            "description": "x",
            "content": base64.b64encode(b"%PDF-1.7").decode(),
        },
    }
    own = {
        *(("/api/tenants", "get"), ("/api/api-keys", "get"), ("/api/me", "get")),
        *(("/api/session", "post"), ("/api/session", "delete")),
        ("/api/stream", "get"),  # has no end: test_stream asks for it
    }
    asked = 0
    for path, methods in office.app.openapi()["paths"].items():
        for method in methods:
            if path.startswith("/cron") or (path, method) in own:
                continue
            url = path.format(**places)
            body = bodies.get(path) if method != "get" else None
            query: dict[str, int | str] = {} if "{tenant_id}" in path else {"tenant_id": 2}
            if path == "/api/messages/story":
                query["wa_id"] = "AC1"
            answer = await ask(office, key, url, method=method.upper(), query=query, json=body)
            asked += 1
            if url.endswith("/test-webhook"):
                assert answer.json()["failed"] == "tenant"
            else:
                assert answer.status_code in (403, 404), (method, path, answer.text)
            assert "segredo" not in answer.text
    assert asked > 25
    (tenant,) = await office.talk.sql("select * from tenants where id = 2")
    assert tenant["is_active"]
    assert not (await office.talk.sql("select * from sessions where id = 2"))[0]["is_paused"]


async def test_a_member_signs_in_with_supabase_and_does_what_its_role_allows(
    office: Office, auth: SupabaseAuth
):
    token = auth.token(ANA)
    assert (await ask(office, token)).status_code == 404
    await joins(office, "viewer")
    assert (await ask(office, token)).status_code == 200
    assert (await ask(office, token, "/api/sessions/1/pause", method="POST")).status_code == 403
    await joins(office, "operator")
    assert (await ask(office, token, "/api/sessions/1/pause", method="POST")).status_code == 200
    (line, *_) = (await office.get("/api/audit", action="pause_session"))["items"]
    assert (line["caller_kind"], line["caller"]) == ("user", ANA)
    removed = await office.api.delete(f"/api/tenants/1/members/{ANA}")
    assert removed.json() == {"removed": True}
    assert (await ask(office, token)).status_code == 404


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_keys_are_asked_for_once_and_again_when_supabase_signs_with_a_new_one(
    office: Office, auth: SupabaseAuth, algorithm: Any, monkeypatch: pytest.MonkeyPatch
):
    await joins(office, "viewer")
    auth.rotate(algorithm)
    for _ in range(3):
        assert (await ask(office, auth.token(ANA))).status_code == 200
    assert auth.asked == 1
    monkeypatch.setattr("router.gate.user_tokens._PAUSE", 0.0)
    auth.rotate(algorithm)
    assert (await ask(office, auth.token(ANA))).status_code == 200
    assert auth.asked == 2


async def test_while_supabase_auth_is_away_known_keys_still_open(
    office: Office, auth: SupabaseAuth, monkeypatch: pytest.MonkeyPatch
):
    await joins(office, "viewer")
    monkeypatch.setattr("router.gate.user_tokens._PAUSE_WITHOUT", 0.0)
    auth.is_away = True
    answer = await ask(office, auth.token(ANA))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "sign_in_away")
    assert answer.headers["Retry-After"] == "5"
    auth.is_away = False
    assert (await ask(office, auth.token(ANA))).status_code == 200
    auth.is_away = True
    monkeypatch.setattr("router.gate.user_tokens._FRESH", 0.0)
    monkeypatch.setattr("router.gate.user_tokens._PAUSE", 0.0)
    assert (await ask(office, auth.token(ANA))).status_code == 200
    assert auth.asked >= 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"exp": 1_700_000_000}, "has expired"),
        ({"exp": None}, "exp"),
        ({"aud": "anon"}, "audience"),
        ({"aud": None}, "aud"),
        ({"iss": "https://other.supabase.co/auth/v1"}, "issuer"),
        ({"sub": None}, "sub"),
        ({"sub": "1; drop table tenants"}, "not a user's id"),
    ],
)
async def test_a_token_that_does_not_hold_is_refused_with_the_reason(
    office: Office, auth: SupabaseAuth, changes: dict[str, Any], told: str
):
    await joins(office, "admin")
    answer = await ask(office, auth.token(ANA, **changes))
    assert answer.status_code == 401
    assert told in answer.json()["error"]["message"].lower()


async def test_a_forged_token_opens_nothing(office: Office, auth: SupabaseAuth):
    await joins(office, "admin")
    good = auth.token(ANA)
    claims = auth.claims(ANA)
    head, body, signature = good.split(".")
    kid = jwt.get_unverified_header(good)["kid"]
    public = json.dumps(auth.published[0]).encode()
    nobody = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    with SupabaseAuth() as stranger:
        forged = [
            f"{head}.{body}.{signature[:-4]}AAAA",
            f"{nobody}.{body}.",
            f"{nobody}.{body}.{signature}",
            legacy_token(claims, SECRET),
            signed_with_what_is_public(claims, public, kid),
            stranger.token(ANA, iss=claims["iss"]),
            "a.b.c",
            "eyJ.eyJ.eyJ",
        ]
        for token in forged:
            answer = await ask(office, token)
            assert answer.status_code == 401, token
        assert stranger.asked == 0


def signed_with_what_is_public(claims: dict[str, Any], public: bytes, kid: str) -> str:
    """Take the public key for a shared secret, as a careless verifier would."""
    header = {"alg": "HS256", "typ": "JWT", "kid": kid}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in (header, claims)]
    signed = b".".join(part.rstrip(b"=") for part in parts)
    signature = hmac.digest(public, signed, "sha256")
    return b".".join((signed, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


async def test_the_legacy_secret_verifies_what_it_signed(database_url: str, auth: SupabaseAuth):
    claims = auth.claims(ANA)
    async with open_office(
        database_url,
        SUPABASE_URL=auth.url,
        SUPABASE_SERVICE_ROLE_KEY=SERVICE_KEY,
        SUPABASE_JWT_SECRET=SECRET,
    ) as office:
        await joins(office, "viewer")
        assert (await ask(office, legacy_token(claims, SECRET))).status_code == 200
        assert (await ask(office, auth.token(ANA))).status_code == 200
        for wrong in (
            legacy_token(claims, "another-secret-of-another-project-01"),
            legacy_token(claims | {"sub": None, "aud": None, "role": "service_role"}, SECRET),
            legacy_token(claims | {"iss": "supabase"}, SECRET),
        ):
            assert (await ask(office, wrong)).status_code == 401


async def test_without_supabase_a_token_is_refused_with_the_cure(
    database_url: str, auth: SupabaseAuth
):
    async with open_office(database_url) as office:
        answer = await ask(office, auth.token(ANA))
    assert answer.status_code == 401
    assert "SUPABASE_URL" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"name": "", "role": "viewer", "tenant_ids": [1]}, "name"),
        ({"name": "x", "role": "owner", "tenant_ids": [1]}, "role"),
        ({"name": "x", "role": "viewer", "tenant_ids": []}, "tenant_ids"),
        ({"name": "x", "role": "viewer"}, "tenant_ids"),
        ({"name": "x", "role": "viewer", "tenant_ids": [1], "expires_at": "2020-01-01T00:00:00Z"},
         "expires_at must be in the future"),
        ({"name": "x", "role": "viewer", "tenant_ids": [99]}, "there is no such tenant"),
    ],
)  # fmt: skip
async def test_a_key_that_cannot_be_is_refused_with_the_reason(
    office: Office, wanted: dict[str, Any], told: str
):
    answer = await office.api.post("/api/api-keys", json=wanted)
    assert answer.status_code in (404, 422)
    assert told in answer.json()["error"]["message"]
