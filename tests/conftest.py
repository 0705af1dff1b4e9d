"""Fixtures for every test: a real PostgreSQL, and a database of its own for each that asks."""

import atexit
import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import certifi
import httpx
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as rules

from router.embedded.postgres import EmbeddedPostgres
from tests.n8n_server import WITHOUT_EDITOR, TestN8n, running_n8n
from tests.parts import Part
from tests.postgres import Databases, fleeting_server, migrated
from tests.real_postgrest.choice import DOUBLE, program_for, run_over_both
from tests.supabase import TestProject


def _trust_one_authority() -> None:
    """Let every HTTP client of this run, and of its processes, load one certificate, not 140.

    Nothing here is reached by TLS. A client takes 25 ms to load them all, and each test makes some.
    """
    first, end, _ = (
        Path(certifi.where()).read_text(encoding="utf-8").partition("END CERTIFICATE-----\n")
    )
    number, name = tempfile.mkstemp(prefix="hybridflow-tests-", suffix=".pem")
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(first + end)
    atexit.register(Path(name).unlink, missing_ok=True)
    os.environ["SSL_CERT_FILE"] = name


_trust_one_authority()

# How long an example takes is told by what else the machine does: it says nothing of the code.
rules.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
rules.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--part",
        type=Part.read,
        metavar="N/M",
        help="only every M-th file of each folder, from the N-th on (make runs the parts together)",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files of other parts. They are not imported, either."""
    part: Part | None = config.getoption("--part")
    return None if part is None or part.has(collection_path) else True


def pytest_collection_finish() -> None:
    """Let garbage collection skip what is loaded by now: it stays, and is a lot to walk through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The server of this test run, with fsync off."""
    with fleeting_server() as server:
        yield server


@pytest.fixture(scope="session")
def databases(postgres: EmbeddedPostgres) -> Iterator[Databases]:
    with Databases(postgres.dsn) as databases:
        yield databases


@pytest.fixture(scope="session")
def template_url(databases: Databases) -> str:
    """The migrated database that others are copied from; nobody may be connected to it then."""
    return migrated(databases)


@pytest.fixture
def database_url(databases: Databases, template_url: str) -> Iterator[str]:
    """The address of a database with the schema, for this test alone."""
    dsn = databases.create(template=template_url)
    yield dsn
    databases.drop(dsn)


@pytest.fixture
def postgrest(request: pytest.FixtureRequest, database_url: str) -> Iterator[TestProject]:
    """A Supabase project over this test's database: `.url`, its keys, `.jwt(role, sub)`."""
    with TestProject(database_url, program_for(getattr(request, "param", DOUBLE))) as project:
        yield project


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """The address of a database without the schema, for this test alone."""
    dsn = databases.create()
    yield dsn
    databases.drop(dsn)


@pytest.fixture(scope="session")
def n8n(
    request: pytest.FixtureRequest,
    postgres: EmbeddedPostgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TestN8n]:
    """The real n8n, with the project's workflows; started when the first test asks for it.

    Where a test drives its editor, it has one.
    """
    settings = {} if any(map(_drives_editor, request.session.items)) else WITHOUT_EDITOR
    with running_n8n(postgres.dsn, tmp_path_factory.mktemp("n8n"), settings=settings) as n8n:
        yield n8n


def _drives_editor(item: pytest.Item) -> bool:
    return {"n8n", "chromium"} <= set(getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def owner(n8n: TestN8n) -> httpx.Cookies:
    """Who owns that n8n, signed in to its editor."""
    who = {"email": "owner@padaria.example", "firstName": "Ana", "lastName": "Dona"}
    with httpx.Client(base_url=n8n.server.home.url, timeout=60) as client:
        made = client.post("/rest/owner/setup", json={**who, "password": "Uma-senha-forte-1"})
        made.raise_for_status()
        return client.cookies


@pytest.hookimpl(tryfirst=True)  # before pytest looks for what is parametrized
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run_over_both(metafunc)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that asks for n8n starts it, and fills it by n8n's own slow commands."""
    for item in items:
        if item.get_closest_marker("n8n") is not None:
            item.add_marker(pytest.mark.timeout(900))
