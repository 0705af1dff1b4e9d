"""Every command of every guide, typed as it stands there. What cannot be is in `ELSEWHERE`."""

import json
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from starlette.routing import Match

from router.app import create_app
from router.configuration.settings import Settings, load_settings
from router.embedded.postgres import EmbeddedPostgres
from scripts.banner import banner
from scripts.kept_secrets import Kept
from tests.clients import patient
from tests.guides.commands import (
    ROOT,
    Command,
    NotUnderstood,
    commands_in,
    commands_of,
    guides,
    variables_of,
)
from tests.guides.stage import Stage, fill, in_this_world, stage
from tests.postgres import Databases, fleeting_folder

_COMPOSE = "needs a container engine; the file itself: tests/unit/test_compose.py"
_SUPABASE = "over TCP, with the real command line: tests/scenarios/test_supabase_cli.py"
_GOING_BACK = "played, one after the other: tests/state/test_going_back.py"
_RELEASE = "is done once for a release: tests/state/test_history.py"
_MAKE_TEST = "is what runs this"
_SERVE = "tests/scenarios/test_serve.py"
_TRY = "wants a flow that ends: tests/scenarios/test_dry_turns.py"
_TRY_BY_CURL = (
    'curl -X POST "http://localhost:8000/api/instances/my-instance/try-flow"'
    """ -H "X-API-Key: $API_KEY" -H 'Content-Type: application/json'"""
    """ -d '{"text": "Have you got cake?"}'"""
)
_MEDIA = "wants a message with a picture: tests/scenarios/test_media_of_flows.py"
_MEDIA_BY_CURL = (
    'curl -X POST "$GATEWAY/chat/getBase64FromMediaMessage/my-instance" -H "apikey: $TOKEN"'
    """ -H 'Content-Type: application/json'"""
    """ -d '{"message": {"key": {"id": "the wa_id of a message"}}, "convertToMp4": false}'"""
)
_DEMO = "tests/scenarios/test_demo.py"
_TOGETHER = "test_workflows_go_into_n8n_and_come_back_as_the_guide_says, for they need each other"
_GIT = "is git's own, and wants a repository with a remote"
_ROW = "a part of make test"
_SMALL = "small, for the full size takes long: tests/benchmarks/test_smoke.py"
_HARNESS = "for two minutes: tests/faults/test_harness.py"
_NAMED = "only named: what stands behind it is in the guides with its options"

_TYPES = 'npx supabase gen types --remote="$DATABASE_URL" --schema public > database.types.ts'
ELSEWHERE = {
    "make test": _MAKE_TEST,
    "make test N8N=0": _MAKE_TEST,
    "make test BROWSER=0": _MAKE_TEST,
    "make check": _MAKE_TEST,
    "make check-schema": _MAKE_TEST,
    "make coverage": _MAKE_TEST,
    "make picture": "changes pictures: what it plays is tests/console/test_story.py",
    "python -m playwright install chromium": "fetches a browser, which is not to be had here",
    "make clean": "would remove the environment that runs this",
    "make check PYTHON=python3.14": "wants that Python",
    "make fix": "changes nothing here: make lint has passed",
    "make lock": "asks an index for what there is: tests/unit/test_locks.py",
    "make lock UPGRADE=1": "asks an index for what there is: tests/unit/test_locks.py",
    "pip install -r requirements-dev.txt": "asks an index: the Makefile does it",
    "pip install -r requirements-local-speech.txt": "asks an index: tests/unit/test_locks.py",
    "pip install --no-deps .": "asks an index: tests/scenarios/test_installed.py",
    "npm install n8n@2.20.12 zod@3.25.67": "asks an index: tests/unit/test_n8n_installation.py",
    "make lint": _MAKE_TEST,
    "make types": _MAKE_TEST,
    "make test-decisions": _ROW,
    "make test-conversations": _ROW,
    "make test-pages": _ROW,
    "make test-faults": _ROW,
    "make test-flows": _ROW,
    "make test-flows-scenarios": _ROW,
    "make test-last-release": _ROW,
    "make audit": "asks for advisories on the network: tests/unit/test_audit.py",
    "make audit STRICT=1": "asks for advisories on the network: tests/unit/test_audit.py",
    "make bench": _SMALL,
    "make run": _SERVE,
    "make run N8N=1": _SERVE,
    "make run DEMO=0": _SERVE,
    "make run N8N=1 DEMO=0": _SERVE,
    "python -m scripts.serve --show-secrets": _SERVE,
    "make demo": _DEMO,
    "make demo N8N=1": _DEMO,
    "make demo LLM=anthropic": "needs an account",
    "python -m benchmarks.front": _SMALL,
    "python -m benchmarks.media": _SMALL,
    "python -m benchmarks.growth": _SMALL,
    "python -m benchmarks.hostile": _SMALL,
    "python -m benchmarks.ingest": _SMALL,
    "python -m benchmarks.ingest --requests 120 --connections 1 8 --seconds 1": _SMALL,
    "python -m benchmarks.n8n": _SMALL,
    "python -m benchmarks.n8n --engine vm": _SMALL,
    "python -m benchmarks.reply": _SMALL,
    "python -m benchmarks.size": _SMALL,
    "python -m benchmarks.stream": _SMALL,
    "python -m benchmarks.faults": _HARNESS,
    "python -m benchmarks.faults --seed 1 --conversations 10000": _HARNESS,
    "python -m scripts.n8n start": _SERVE,
    "python -m scripts.n8n try": _TRY,
    'python -m scripts.n8n try --tenant my-instance --text "Have you got cake?"': _TRY,
    "python -m scripts.n8n try --tenant my-instance --flow my-shop/hybridflow-turn": _TRY,
    _TRY_BY_CURL: _TRY,
    _MEDIA_BY_CURL: _MEDIA,
    "python -m scripts.n8n import": _TOGETHER,
    "python -m scripts.n8n export": _TOGETHER,
    "docker compose ps": _COMPOSE,
    "docker compose up -d --build": _COMPOSE,
    "docker compose down": _COMPOSE,
    "docker compose up -d --scale n8n-worker=4 --scale routers=3": _COMPOSE,
    "docker compose run --rm -e IMPORT=always n8n-import && docker compose restart n8n": _COMPOSE,
    "docker compose exec routers …": _COMPOSE,
    "docker compose exec postgres pg_dumpall -U postgres > before.sql": _COMPOSE,
    'supabase --workdir database db push --remote="$DATABASE_URL"': _SUPABASE,
    "supabase db advisors --fail-on warn": _SUPABASE,
    _TYPES: _SUPABASE,
    "python -m scripts.build_schema --freeze": _RELEASE,
    "python -m scripts.build_schema --begin VERSION": _RELEASE,
    "supabase db push": _SUPABASE,
    "psql \"$DATABASE_URL\" -c 'create database before_the_upgrade'": _GOING_BACK,
    'pg_restore --no-owner --exit-on-error -d "$RESTORED_URL" before.dump': _GOING_BACK,
    (
        "delete from supabase_migrations.schema_migrations where (version, name) in"
        " (select version, name from hybridflow.migrations)"
    ): _GOING_BACK,
    "docker compose up -d --no-deps routers": _COMPOSE,
    "git pull": _GIT,
    "git diff": _GIT,
    "ssh -L 5678:127.0.0.1:5678 your-host": "wants a host",
    ".venv/bin/python -m pytest PATH": _MAKE_TEST,
    ".venv/bin/python -m scripts.NAME": _NAMED,
    "python -m scripts.operators new-key": _NAMED,
    "python -m scripts.operators set-member …": _NAMED,
}
NEEDS_N8N = ("python -m scripts.n8n install", "python -m scripts.n8n check")
# What is done for the first time: by somebody who has nothing yet.
FIRST_TIME = re.compile(r"scripts\.tenant add|INSERT INTO tenants|/instance/create|schema\.sql")
SECRETS = "sh docker/secrets.sh >/dev/null"
FIRST = {"sed -n 's/^PGRST_JWT_SECRET": SECRETS, "$EDITOR .env": SECRETS}
"""What the guide has had its reader do before, by how the command begins."""

ALL = [command for guide in guides() for command in commands_of(guide)]
TYPED = {command.text: command for command in ALL if command.text not in ELSEWHERE}


def as_parameter(command: Command) -> object:
    marks = [pytest.mark.n8n] if command.text in NEEDS_N8N else []
    return pytest.param(command, id=f"{command.guide}: {command.text[:60]}", marks=marks)


def of_kind(*kinds: str) -> list[object]:
    return [as_parameter(command) for command in TYPED.values() if command.kind in kinds]


Staged = Callable[[Command], AbstractAsyncContextManager[Stage]]


@pytest.fixture(scope="module")
def readers_url(databases: Databases, template_url: str) -> str:
    """The database of a reader who has come further; others are copied from it."""
    url = databases.create(template=template_url)
    databases.wait(fill(url))
    return url


@pytest.fixture
def staged(
    databases: Databases,
    postgres: EmbeddedPostgres,
    readers_url: str,
    template_url: str,
    tmp_path: Path,
) -> Staged:
    @asynccontextmanager
    async def made(command: Command) -> AsyncIterator[Stage]:
        is_filled = not FIRST_TIME.search(command.text)
        url = databases.create(template=readers_url if is_filled else template_url)
        with_router = command.text.startswith("curl")
        async with stage(
            url, postgres.bin_folder, tmp_path, with_router=with_router, is_filled=is_filled
        ) as made:
            yield made
        databases.drop(url)

    return made


@pytest.mark.parametrize("command", of_kind("shell", "name"))
async def test_a_command_does_what_the_guide_says(command: Command, staged: Staged):
    program = command.text.split()[0]
    if program in ("curl", "openssl", "make") and shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")
    async with staged(command) as stage:
        if "$GATEWAY" in command.text:
            await stage.a_turn_is_given_to_n8n()
        for begins, before in FIRST.items():
            if command.text.startswith(begins):
                assert (await stage.runs(before)).code == 0
        typed = in_this_world(command.text, stage)
        if "-m router.serving" in typed:
            await stage.serves(typed)
            return
        done = await stage.runs(typed)
    assert done.code == 0, f"{typed}\n{done.out}\n{done.err}"
    assert "Traceback" not in done.out + done.err


@pytest.mark.n8n
@pytest.mark.timeout(900)  # n8n's commands take seconds each, and these are a dozen
async def test_workflows_go_into_n8n_and_come_back_as_the_guide_says(staged: Staged):
    """Exported as they were imported: what `git diff` shows is what a builder changed."""
    with fleeting_folder() as data:
        async with staged(Command("none", "shell", "python")) as stage:
            stage.variables |= {"DATABASE_URL": "", "HYBRIDFLOW_DATA": str(data)}
            folder = stage.folder / "n8n_workflows"
            before = {file.name: file.read_text() for file in folder.glob("*.json")}
            for command in ("import", "export"):
                done = await stage.runs(f"python -m scripts.n8n {command}", within=300)
                assert done.code == 0, done.err
                assert f"{command}ed: " in done.out
            assert {file.name: file.read_text() for file in folder.glob("*.json")} == before


@pytest.mark.parametrize("command", of_kind("sql"))
async def test_a_statement_runs_as_it_stands(command: Command, staged: Staged):
    async with staged(command) as stage:
        (stage.folder / "statement.sql").write_text(command.text, encoding="utf-8")
        options = "--no-psqlrc --set ON_ERROR_STOP=1 --tuples-only --no-align"
        done = await stage.runs(f'psql "$DATABASE_URL" {options} -f statement.sql')
    assert done.code == 0, done.err
    if "information_schema.tables" in command.text:
        assert len(done.out.split()) == 4


@pytest.mark.parametrize("command", of_kind("http"))
async def test_a_request_gets_what_it_asks_for(command: Command, staged: Staged):
    async with staged(command) as stage:
        head, _, body = in_this_world(command.text, stage).partition("\n\n")
        first, *lines = head.splitlines()
        method, url = first.split()
        headers = dict(line.split(": ", 1) for line in lines)
        async with patient() as client:
            answer = await client.request(method, url, headers=headers, json=json.loads(body))
        assert answer.is_success, answer.text
        setting = stage.evolution.instance("demo-instance").webhooks.setting
    assert setting is not None
    assert setting.enabled
    assert {"MESSAGES_UPSERT", "SEND_MESSAGE"} <= set(setting.events)
    assert "X-Webhook-Secret" in setting.headers


async def test_a_command_that_fails_is_seen(staged: Staged):
    """What the tests above would miss if the shell, curl or psql hid it."""
    async with staged(Command("none", "shell", "curl")) as stage:
        for command in (
            in_this_world('curl -H "X-API-Key: wrong" localhost:8000/api/tenants', stage),
            "python -m scripts.tenant add my-instance --server http://e --colour red",
            "python -m scripts.tenant connect nobody",
        ):
            assert (await stage.runs(command)).code != 0, command


async def test_a_command_leaves_nothing_behind(staged: Staged):
    own = ROOT / ".env"  # of a developer, perhaps
    before = own.read_bytes() if own.exists() else None
    async with staged(Command("none", "shell", "cp")) as stage:
        assert (await stage.runs("cp .env.example .env && make help")).code == 0
        assert (stage.folder / ".env").exists()
    assert (own.read_bytes() if own.exists() else None) == before


def test_the_guides_have_their_commands():
    kinds = {kind: {c.text for c in ALL if c.kind == kind} for kind in ("shell", "sql", "http")}
    assert len(kinds["shell"]) > 40
    assert len(kinds["sql"]) > 5
    assert kinds["http"]
    assert {guide.name for guide in guides()} >= {
        *("README.md", "DEPLOYMENT.md", "SECURITY.md", "CLAUDE.md", ".env.example"),
    }
    assert ROOT / "benchmarks" / "README.md" in guides()


def test_nothing_is_elsewhere_that_no_guide_says():
    assert set(ELSEWHERE) - {command.text for command in ALL} == set()


def test_what_runs_elsewhere_is_a_test_that_is_there():
    named = {name for reason in ELSEWHERE.values() for name in re.findall(r"tests/\S+", reason)}
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_target_that_a_guide_names_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {command.text.split()[1] for command in ALL if command.text.startswith("make ")}
    assert named <= targets


def test_every_service_that_a_guide_names_is_in_the_compose_file():
    services = set(
        re.findall(r"^  ([a-z0-9-]+):$", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE)
    )
    named = {
        service
        for command in ALL
        for service in re.findall(
            r"(?:exec|restart|--scale|IMPORT=always) ([a-z0-9-]+)", command.text
        )
    }
    assert len(named) > 3
    assert named <= services


@pytest.mark.parametrize("guide", guides(), ids=lambda guide: guide.relative_to(ROOT).as_posix())
def test_every_variable_that_a_guide_sets_is_one(guide: Path):
    known = {str(field.alias) for field in Settings.model_fields.values()}
    assert variables_of(guide) <= known


def test_the_procfile_is_the_guides():
    assert (ROOT / "Procfile").read_text().strip() in (ROOT / "DEPLOYMENT.md").read_text()


def test_a_block_of_an_unknown_kind_is_asked_about():
    with pytest.raises(NotUnderstood, match="a block of ruby"):
        commands_in("x.md", "```ruby\nputs 1\n```")
    with pytest.raises(NotUnderstood, match="is it a command"):
        commands_in("x.md", "```\nrm -rf everything\n```")


def test_commands_are_found_wherever_they_stand():
    text = """
Say `make   help`, or:

   ```bash
   # first
   python -m scripts.tenant add x \\
       --server y   # comes after
   KEY=value
   ```
```sql
-- one
select 1; select 2;
```
"""
    assert [(command.kind, command.text) for command in commands_in("x.md", text)] == [
        ("name", "make help"),
        ("shell", "python -m scripts.tenant add x --server y"),
        ("sql", "select 1"),
        ("sql", "select 2"),
    ]


async def test_what_make_run_says_to_do_next_can_be_done(staged: Staged):
    async with staged(Command("none", "shell", "curl, scripts.tenant add")) as stage:
        given = {"DATABASE_URL": "postgresql://x@localhost/x", "ANTHROPIC_API_KEY": "sk-x"}
        settings = load_settings(given, env_file=None)
        said = banner(settings, Kept({}, ()), with_n8n=False)
        steps = re.findall(r": +((?:\.venv/bin/python|curl) .*)", said)
        assert len(steps) == 1
        stage.evolution.instance("my-instance")
        for step in steps:
            typed = in_this_world(step, stage).replace("--key KEY", f"--key {stage.evolution.key}")
            done = await stage.runs(typed)
            assert done.code == 0, f"{typed}\n{done.err}"
        assert "has the instance my-instance" in done.out
        (step,) = re.findall(r"Next: (.*)", done.out)
        done = await stage.runs(in_this_world(step, stage))
        assert done.code == 0, f"{step}\n{done.err}"
    assert "Evolution sends the events of my-instance" in done.out


REQUEST = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`\s]*)[^`]*`")


@pytest.mark.parametrize("guide", guides(), ids=lambda guide: guide.relative_to(ROOT).as_posix())
def test_every_endpoint_that_a_guide_names_is_there(guide: Path):
    routes = create_app(load_settings({}, env_file=None)).routes
    missing = [
        f"{method} {path}"
        for method, path in REQUEST.findall(guide.read_text(encoding="utf-8"))
        if not any(
            route.matches(
                {
                    "type": "http",
                    "method": method,
                    "path": re.sub(r"\{\w+\}", "1", path.partition("?")[0]),
                }
            )[0]
            is Match.FULL
            for route in routes
        )
    ]
    assert missing == []
