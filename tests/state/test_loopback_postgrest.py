"""The double of PostgREST keeps PostgREST's rules: whatever is asked here, the real one is, too."""

import time
from collections.abc import AsyncIterator, Iterator

import asyncpg
import httpx
import pytest

from loopback.supabase import Supabase
from tests.clients import patient
from tests.postgres import Databases
from tests.real_postgrest.choice import DOUBLE, REAL, program_for
from tests.supabase import TestProject

pytestmark = pytest.mark.apart

JSON = {"Content-Type": "application/json"}
OBJECTS = """
    create table public.notes (id int primary key, owner text, body text);
    create function public.add(a int, b int default 2) returns int language sql as 'select a + b';
    create sequence public.steps;
    grant usage on sequence public.steps to service_role;
    create function public.spoil() returns bigint language sql stable as
        $$ select nextval('public.steps') $$;
    create function public.caller() returns json language sql stable as
        $$ select current_setting('request.jwt.claims')::json $$;
    create sequence public.tries;
    create function public.collide(code text) returns bigint language plpgsql as $$
    begin
        if nextval('public.tries') < 3 then
            raise exception 'the other one first' using errcode = code;
        end if;
        return currval('public.tries');
    end $$;
    grant usage on sequence public.tries to service_role;
    alter table public.notes enable row level security;
    create policy own on public.notes to authenticated
        using (owner = current_setting('request.jwt.claims')::json ->> 'sub')
        with check (owner = current_setting('request.jwt.claims')::json ->> 'sub');
    grant all on public.notes to authenticated, service_role;
"""
ROWS = """
    truncate public.notes;
    insert into public.notes values (1, 'ana', 'a'), (2, 'bia', 'b'), (3, 'ana', 'c');
    alter sequence public.tries restart;
"""


@pytest.fixture(scope="module")
def objects_url(databases: Databases, template_url: str) -> Iterator[str]:
    url = databases.create(template=template_url)
    databases.wait(execute(url, OBJECTS))
    yield url
    databases.drop(url)


@pytest.fixture(scope="module", params=[DOUBLE, pytest.param(REAL, marks=pytest.mark.twice)])
def running(request: pytest.FixtureRequest, objects_url: str) -> Iterator[TestProject]:
    """One for all tests: the real one needs a second to start and to read the schema."""
    with TestProject(objects_url, program_for(request.param)) as project:
        yield project


@pytest.fixture
async def project(running: TestProject, objects_url: str) -> TestProject:
    await execute(objects_url, ROWS)
    return running


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@pytest.fixture
async def ana(project: TestProject) -> AsyncIterator[httpx.AsyncClient]:
    async with caller(project, project.jwt("authenticated", "ana")) as client:
        yield client


@pytest.fixture
async def service(project: TestProject) -> AsyncIterator[httpx.AsyncClient]:
    async with caller(project, project.service_role_key) as client:
        yield client


def caller(project: Supabase, token: str) -> httpx.AsyncClient:
    headers = {"apikey": project.service_role_key, "Authorization": f"Bearer {token}"}
    return patient(base_url=f"{project.url}/rest/v1", headers=headers)


def fault(answer: httpx.Response) -> tuple[int, str]:
    assert set(answer.json()) == {"code", "details", "hint", "message"}
    return answer.status_code, answer.json()["code"]


async def test_the_keys_of_the_body_are_arguments_by_name(service: httpx.AsyncClient):
    assert (await service.post("/rpc/add", json={"a": 1})).json() == 3
    assert (await service.post("/rpc/add", json={"b": 5, "a": 1})).json() == 6
    assert (await service.get("/rpc/add", params={"a": 7})).json() == 9


async def test_what_fits_no_function_is_not_found(project: TestProject, service: httpx.AsyncClient):
    for name, body in (("nothing", {}), ("add", {"b": 1}), ("add", {"a": 1, "c": 1})):
        assert fault(await service.post(f"/rpc/{name}", json=body)) == (404, "PGRST202")
    unknown = "PGRST205" if project.version >= 13 else "42P01"
    for table in ("nothing", "Notes", "pg_class"):
        assert fault(await service.get(f"/{table}")) == (404, unknown)


async def test_a_function_that_promises_to_read_cannot_write(service: httpx.AsyncClient):
    assert fault(await service.post("/rpc/spoil", json={})) == (405, "25006")


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"p": {"text": "\\u0000"}}', (400, "22P05")),
        (b'{"p": {"text": "\\ud83d"}}', (400, "PGRST102")),
        (b'{"p": ', (400, "PGRST102")),
    ],
)
async def test_what_is_no_json_for_postgresql_is_refused(
    service: httpx.AsyncClient, body: bytes, answer: tuple[int, str]
):
    asked = await service.post("/rpc/get_tenant", content=body, headers=JSON)
    assert fault(asked) == answer


@pytest.mark.parametrize("body", [b"[]", b'"p"', b"3", b"null"])
async def test_a_body_that_is_no_object_is_refused(
    project: TestProject, service: httpx.AsyncClient, body: bytes
):
    asked = await service.post("/rpc/get_tenant", content=body, headers=JSON)
    no_arguments = (400, "PGRST102") if project.version >= 13 else (404, "42883")
    assert fault(asked) == no_arguments


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
async def test_a_body_that_is_not_said_to_be_json_has_no_arguments(
    service: httpx.AsyncClient, kind: str
):
    asked = await service.post("/rpc/add", content=b'{"a": 1}', headers={"Content-Type": kind})
    assert fault(asked) == (404, "PGRST202")


async def test_an_answer_in_xml_is_not_to_be_had(service: httpx.AsyncClient):
    asked = await service.post("/rpc/add", json={"a": 1}, headers={"Accept": "application/xml"})
    assert fault(asked)[1] == "PGRST107"
    assert asked.status_code in (406, 415)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_function_is_asked_by_get_and_post_alone(service: httpx.AsyncClient, method: str):
    assert fault(await service.request(method, "/rpc/add?a=1")) == (405, "PGRST101")


async def test_what_lost_to_another_transaction_is_carried_out_again_until_it_wins(
    project: TestProject, service: httpx.AsyncClient
):
    assert (await service.post("/rpc/collide", json={"code": "40001"})).json() == 3


async def test_so_is_a_deadlock_by_14_while_before_it_is_told(
    project: TestProject, service: httpx.AsyncClient
):
    asked = await service.post("/rpc/collide", json={"code": "40P01"})
    if project.version >= 14:
        assert asked.json() == 3
    else:
        assert fault(asked) == (500, "40P01")


async def test_a_schema_that_is_not_exposed_is_refused(service: httpx.AsyncClient):
    asked = await service.post("/rpc/f", json={}, headers={"Content-Profile": "hybridflow"})
    assert fault(asked) == (406, "PGRST106")
    asked = await service.get("/notes", headers={"Accept-Profile": "hybridflow"})
    assert fault(asked) == (406, "PGRST106")


async def test_a_jwt_is_verified_and_its_claims_are_told(
    project: TestProject, ana: httpx.AsyncClient
):
    claims = (await ana.post("/rpc/caller", json={})).json()
    assert (claims["role"], claims["sub"]) == ("authenticated", "ana")
    async with caller(project, "no.jwt.atall") as stranger:
        assert fault(await stranger.post("/rpc/caller", json={})) == (401, "PGRST301")


@pytest.mark.parametrize("claims", [{"exp": -60}, {"iat": 600}, {"nbf": 600}])
async def test_a_jwt_out_of_its_time_is_refused(
    project: TestProject, ana: httpx.AsyncClient, claims: dict[str, int]
):
    at = {name: int(time.time()) + seconds for name, seconds in claims.items()}
    async with caller(project, project.jwt("authenticated", "ana", **at)) as late:
        status, code = fault(await late.post("/rpc/caller", json={}))
    assert (status, code) == (401, "PGRST303" if project.version >= 13 else "PGRST301")


async def test_nobody_without_the_role_may_call_what_is_the_services(
    project: TestProject, ana: httpx.AsyncClient
):
    asked = await ana.post("/rpc/check_database", json={"p": {}})
    assert fault(asked) == (403, "42501")
    async with caller(project, project.jwt("anon")) as anybody:
        asked = await anybody.post("/rpc/check_database", json={"p": {}})
        assert fault(asked) == (401, "42501")
        assert fault(await anybody.get("/tenants")) == (401, "42501")


async def test_tables_are_read_with_columns_filters_and_order(service: httpx.AsyncClient):
    read = await service.get("/notes", params={"select": "id,body", "owner": "eq.ana"})
    assert read.json() == [{"id": 1, "body": "a"}, {"id": 3, "body": "c"}]
    read = await service.get("/notes?id=in.(1,2)&body=not.eq.x&order=id.desc&limit=1&select=id")
    assert read.json() == [{"id": 2}]
    assert (await service.get("/notes?owner=is.null")).json() == []


async def test_row_level_security_holds_for_reading_and_writing(ana: httpx.AsyncClient):
    assert [row["id"] for row in (await ana.get("/notes")).json()] == [1, 3]
    written = await ana.post("/notes", json={"id": 4, "owner": "ana"})
    assert (written.status_code, written.content) == (201, b"")
    assert fault(await ana.post("/notes", json={"id": 5, "owner": "bia"})) == (403, "42501")
    assert fault(await ana.post("/notes", json={"id": 4, "owner": "ana"})) == (409, "23505")
    uneven = [{"id": 6, "owner": "ana"}, {"id": 7}]
    assert fault(await ana.post("/notes", json=uneven)) == (400, "PGRST102")
    wanted = {"Prefer": "return=representation"}
    changed = await ana.patch("/notes?id=in.(1,2)", json={"body": "new"}, headers=wanted)
    assert [row["id"] for row in changed.json()] == [1]
    gone = await ana.delete("/notes", params={"id": "gt.1"}, headers=wanted)
    assert sorted(row["id"] for row in gone.json()) == [3, 4]
