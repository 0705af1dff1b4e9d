"""docker-compose.yml: what no engine is needed for to see that it holds."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.configuration.settings import Settings
from router.serving.bounds import Bounds
from scripts.n8n.installation import N8N_VERSION
from scripts.n8n.library import DRAFTS, WORKFLOWS, read_workflows

_ROOT = Path(__file__).resolve().parents[2]
_TEXT = (_ROOT / "docker-compose.yml").read_text()
_COMPOSE: dict[str, Any] = yaml.safe_load(_TEXT)
_SERVICES: dict[str, dict[str, Any]] = _COMPOSE["services"]
_ONE_SHOTS = {"migrate", "n8n-credentials", "n8n-import"}
_LONG_RUNNING = sorted(set(_SERVICES) - _ONE_SHOTS)
_ROUTERS = ["router", "routers"]
_QUEUE = ["n8n-main", "n8n-worker", "n8n-webhook"]
_EXAMPLE = (_ROOT / ".env.example").read_text()
_EXAMPLE_NAMES = set(re.findall(r"^#?([A-Z0-9_]+)=", _EXAMPLE, re.MULTILINE))
_SETTINGS = {str(field.alias) for field in Settings.model_fields.values()}
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::([?-])([^}]*))?\}")
_SECRET = re.compile(r"PASSWORD|SECRET|(?:^|_)KEYS?$|REDISCLI_AUTH|_UR[IL]$")

# What makes no sense in a container, and where the state is: in the Compose file's own PostgreSQL.
_NOT_PASSED_ON = {
    "SUPABASE_URL",
    "SUPABASE_SERVICE_ROLE_KEY",
    "HYBRIDFLOW_DATA",
    "PORT",
    "API_PORT",
    "N8N_PORT",
    "DEMO",
}


def started_with(*profiles: str) -> set[str]:
    return {
        name
        for name, service in _SERVICES.items()
        if "profiles" not in service or set(service["profiles"]) & set(profiles)
    }


def environment(service: str) -> dict[str, str | None]:
    given: dict[str, str | None] = _SERVICES[service].get("environment", {})
    return given


# --- each service


def test_every_image_is_pinned_to_an_exact_version():
    for name, service in _SERVICES.items():
        image, _, tag = service["image"].partition(":")
        assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?", tag), f"{name}: {image}:{tag}"


def test_the_routers_image_is_built_from_a_pinned_one_and_runs_without_root():
    dockerfile = (_ROOT / "Dockerfile").read_text()
    assert re.search(r"^FROM python:3\.12\.\d+-slim", dockerfile, re.MULTILINE)
    assert dockerfile.index("USER hybridflow") < dockerfile.index("CMD")
    assert 'CMD ["python", "-m", "router.serving"' in dockerfile


def test_only_what_the_image_needs_is_given_to_the_build():
    lines = (_ROOT / ".dockerignore").read_text().split()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (.+) \S+$", (_ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert "*" in lines
    assert allowed == {name for line in copied for name in line.split()}
    assert all((_ROOT / name).exists() for name in allowed)


def test_n8n_has_the_version_that_the_project_installs():
    images = {s["image"] for name, s in _SERVICES.items() if s["image"].startswith("n8nio/")}
    assert images == {f"n8nio/n8n:{N8N_VERSION}"}


@pytest.mark.parametrize("name", _LONG_RUNNING)
def test_what_runs_long_is_watched_and_started_again(name):
    service = _SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert "mem_limit" in service


@pytest.mark.parametrize("name", sorted(_ONE_SHOTS))
def test_what_runs_once_is_not_repeated_and_others_wait_for_its_end(name):
    assert _SERVICES[name]["restart"] == "no"
    waiting = [s for s in _SERVICES.values() if name in s.get("depends_on", {})]
    assert waiting
    assert all(
        s["depends_on"][name]["condition"] == "service_completed_successfully" for s in waiting
    )


def test_what_is_waited_for_runs_long_and_is_healthy_or_runs_once_and_is_done():
    for service in _SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            done = needed in _ONE_SHOTS
            expected = "service_completed_successfully" if done else "service_healthy"
            assert how["condition"] == expected


def test_every_file_that_is_mounted_exists_and_every_volume_is_declared():
    mounted = [v.split(":")[0] for s in _SERVICES.values() for v in s.get("volumes", [])]
    files = {source for source in mounted if source.startswith("./")}
    assert files
    assert all((_ROOT / file).exists() for file in files)
    assert set(mounted) - files == set(_COMPOSE["volumes"])


def test_ports_are_published_on_loopback():
    ports = [port for s in _SERVICES.values() for port in s.get("ports", [])]
    plain = [re.sub(r"\$\{[A-Z0-9_]+:-([^}]*)\}", r"\1", port) for port in ports]
    assert plain
    assert all(port.startswith("127.0.0.1:") for port in plain)


# --- secrets


def test_no_secret_stands_in_the_file_and_none_has_a_default():
    for name in _SERVICES:
        for variable, value in environment(name).items():
            if value is None or not _SECRET.search(variable):
                continue
            given = _VARIABLE.findall(value)
            address = variable.endswith(("_URL", "_URI"))
            assert address or [kind for _, kind, _ in given] == ["?"], f"{name}: {variable}"
            # In an address, what stands before the @ comes from .env, and must be there.
            user = re.search(r"//([^/@]*)@", value)
            assert not user or re.fullmatch(r"\w+:\$\{\w+:\?[^}]*\}", user.group(1)), variable


def test_every_variable_says_what_to_do_or_has_a_default_and_stands_in_the_example():
    used = _VARIABLE.findall(_TEXT)
    assert {name for name, _, _ in used} <= _EXAMPLE_NAMES
    for name, kind, text in used:
        assert kind == "-" or text.startswith(f"set {name} in .env"), name
        assert not (kind == "-" and _SECRET.search(name) and "://" not in text), name


def test_what_stands_in_the_example_for_compose_alone_is_used():
    own = _EXAMPLE.partition("# --- Docker Compose only")[2]
    named = set(re.findall(r"^#?([A-Z0-9_]+)=", own, re.MULTILINE))
    assert named == {name for name, _, _ in _VARIABLE.findall(_TEXT)} - _SETTINGS


def test_the_examples_defaults_are_those_of_the_file():
    own = _EXAMPLE.partition("# --- Docker Compose only")[2]
    shown = dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", own, re.MULTILINE))
    assert shown == {n: text for n, kind, text in _VARIABLE.findall(_TEXT) if n in shown}


def test_the_secrets_are_made_once_and_leave_alone_what_is_set(tmp_path):
    env = tmp_path / ".env"
    env.write_text(_EXAMPLE.replace("\nCRON_SECRET=\n", "\nCRON_SECRET=mine&|/\\mine\n"))
    run = ["sh", str(_ROOT / "docker" / "secrets.sh"), str(env)]
    subprocess.run(run, check=True, capture_output=True)
    first = env.read_text()
    values = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", first, re.MULTILINE))
    required = {name for name, kind, _ in _VARIABLE.findall(_TEXT) if kind == "?"}
    assert all(values[name] for name in required)
    made = [values[name] for name in required - {"CRON_SECRET", "COMPOSE_PROFILES"}]
    assert len(set(made)) == len(made)
    assert values["CRON_SECRET"] == "mine&|/\\mine"
    assert re.fullmatch(r"operator:[0-9a-f]{64}", values["API_KEYS"])
    assert re.fullmatch(r"[0-9a-f]{64}", values["POSTGRES_PASSWORD"])
    assert len(first.splitlines()) == len(_EXAMPLE.splitlines())
    assert env.stat().st_mode & 0o777 == 0o600
    subprocess.run(run, check=True, capture_output=True)
    assert env.read_text() == first
    assert [file.name for file in tmp_path.iterdir()] == [".env"]


# --- the router's configuration


@pytest.mark.parametrize("name", [*_ROUTERS, "migrate", "n8n-credentials"])
def test_the_router_is_given_known_variables_only(name):
    assert set(environment(name)) <= _SETTINGS


@pytest.mark.parametrize("name", _ROUTERS)
def test_every_variable_of_the_router_can_be_set(name):
    assert set(environment(name)) == _SETTINGS - _NOT_PASSED_ON


def test_n8n_gets_none_of_the_routers_secrets():
    for name in ("n8n", "n8n-import", *_QUEUE):
        assert not set(environment(name)) & (_SETTINGS - {"N8N_ROUTER_URL"})


def test_the_database_init_reads_the_passwords_that_it_is_given():
    sql = (_ROOT / "docker" / "postgres" / "databases.sql").read_text()
    read = set(re.findall(r"^\\getenv \w+ (\w+)$", sql, re.MULTILINE))
    assert read == set(environment("postgres")) - {"POSTGRES_PASSWORD"}


# --- what stands in front


def test_nobody_reaches_a_router_but_past_the_proxy():
    assert not any("ports" in _SERVICES[name] for name in _ROUTERS)
    for proxy, router in (("front", "router"), ("proxy", "routers")):
        assert environment(proxy)["ROUTERS"] == router
        assert router in _SERVICES[proxy]["depends_on"]
    trusted = environment("router")["TRUSTED_PROXIES"]
    assert trusted
    assert "172.16.0.0/12" in trusted


def test_the_proxy_has_limits_and_closes_before_the_router_does():
    said = (_ROOT / "docker" / "caddy" / "Caddyfile").read_text()
    for limit in ("max_header_size", "read_header", "read_body", "idle", "max_size", "keepalive"):
        assert re.search(rf"^\s*{limit} \S+$", said, re.MULTILINE), limit
    kept = re.search(r"keepalive (\d+)s", said)
    assert kept
    assert int(kept[1]) < Bounds().idle_seconds


@pytest.mark.parametrize("guide", ["docker/caddy/Caddyfile", "DEPLOYMENT.md"])
def test_slow_callers_keep_nobody_waiting_in_front_of_the_router(guide):
    """A bound on connections to the router is filled by slow bodies of a few addresses.

    Tried with Caddy 2.10.2 and a bound of 400: 1,500 of them, from 15 addresses, and nobody got
    an answer. The router's own bound makes whoever does nothing give way.
    """
    said = (_ROOT / guide).read_text()
    proxies = re.findall(r"^\treverse_proxy .*?^\t\}", said, re.MULTILINE | re.DOTALL)
    assert proxies
    for proxy in proxies:
        assert re.search(r"^\t\trequest_buffers (\d+)KB$", proxy, re.MULTILINE)
        assert "max_conns_per_host" not in proxy


def test_bodies_that_wait_in_the_proxy_fit_into_its_memory():
    said = (_ROOT / "docker" / "caddy" / "Caddyfile").read_text()
    waiting = re.search(r"request_buffers (\d+)KB", said)
    assert waiting
    for proxy in ("front", "proxy"):
        bytes_for_all = int(_SERVICES[proxy]["mem_limit"].removesuffix("m")) * 1024
        assert 5000 * (int(waiting[1]) + 64) < bytes_for_all
        limit = environment(proxy)["GOMEMLIMIT"]
        assert limit
        assert int(limit.removesuffix("MiB")) * 1024 < bytes_for_all


def test_from_outside_no_path_of_flows_is_reached():
    (port,) = {_SERVICES[proxy]["ports"][0].rpartition(":")[2] for proxy in ("front", "proxy")}
    said = (_ROOT / "docker" / "caddy" / "Caddyfile").read_text()
    outside = said.partition(f"http://:{port} {{")[2]
    flows, _, _ = outside.partition("import router")
    assert re.search(r"path /n8n /n8n/\*\n\s*not client_ip \{\$FLOWS_FROM\}", flows)
    assert re.search(r'handle @flows \{\n\s*respond "not found" 404', flows)
    assert port != "8000"  # where n8n comes in
    for proxy in ("front", "proxy"):
        assert environment(proxy)["FLOWS_FROM"]


# --- n8n's workflows


def test_the_import_publishes_every_workflow_that_is_no_draft():
    script = (_ROOT / "docker" / "n8n" / "import.sh").read_text()
    listed = re.search(r'^published="(.*)"$', script, re.MULTILINE)
    assert listed
    ids = {workflow["id"] for workflow in read_workflows(WORKFLOWS)}
    assert set(listed.group(1).split()) == ids - DRAFTS


# --- profiles


def test_one_line_starts_everything_once():
    shown = re.search(r"^COMPOSE_PROFILES=(.*)$", _EXAMPLE, re.MULTILINE)
    assert shown
    assert started_with(*shown.group(1).split(",")) == {
        *("postgres", "migrate", "postgrest", "supabase", "router", "front", "evolution"),
        *("n8n-credentials", "n8n-import", "n8n"),
    }


def test_scale_replaces_the_one_router_and_the_one_n8n():
    plain, scaled = started_with("router", "n8n"), started_with("scale")
    assert plain - scaled == {"router", "front", "n8n"}
    assert scaled - plain == {"redis", "routers", "proxy", *_QUEUE}
    for name, count in {"routers": 2, "n8n-worker": 2, "n8n-webhook": 2}.items():
        assert _SERVICES[name]["deploy"]["replicas"] == count
        assert "ports" not in _SERVICES[name]
    assert "deploy" not in _SERVICES["n8n-main"]  # schedules would run twice
    assert _SERVICES["n8n-worker"]["command"][0] == "worker"
    assert _SERVICES["n8n-webhook"]["command"] == ["webhook"]


@pytest.mark.parametrize("name", _QUEUE)
def test_every_n8n_of_scale_is_in_queue_mode_on_a_redis_with_a_password(name):
    given = environment(name)
    assert given["EXECUTIONS_MODE"] == "queue"
    assert given["QUEUE_BULL_REDIS_PASSWORD"] == environment("redis")["REDIS_PASSWORD"]
    assert _SERVICES[name]["depends_on"]["redis"]["condition"] == "service_healthy"
    assert given.items() >= environment("n8n").items()  # the same key, the same database


def test_the_names_router_and_n8n_lead_to_their_places_in_both_profiles():
    def alias(name: str) -> list[str]:
        aliases: list[str] = _SERVICES[name]["networks"]["default"]["aliases"]
        return aliases

    assert alias("proxy") == ["router"]
    assert alias("n8n-webhook") == ["n8n"]
    assert "//routers:8000" not in _TEXT  # nobody goes past the proxy


def test_the_plain_and_the_scaled_cannot_run_side_by_side():
    assert _SERVICES["n8n"]["ports"] == _SERVICES["n8n-main"]["ports"]
    assert _SERVICES["front"]["ports"] == _SERVICES["proxy"]["ports"]


@pytest.mark.parametrize("profiles", [("router",), ("n8n",), ("evolution",), ("scale",)])
def test_each_part_can_live_on_a_host_of_its_own(profiles):
    running = started_with(*profiles)
    for name in running:
        assert set(_SERVICES[name].get("depends_on", {})) <= running


# --- hosts without Docker


def test_the_procfile_migrates_before_it_serves():
    lines = dict(
        line.split(": ", 1) for line in (_ROOT / "Procfile").read_text().strip().splitlines()
    )
    assert lines == {
        "release": "python -m scripts.migrate",
        "web": "python -m router.serving",
    }
