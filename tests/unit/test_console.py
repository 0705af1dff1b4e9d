"""The console's own files: vendored with hashes, words in three languages, one strict policy."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from router.app import create_app
from router.configuration.demo import Demo
from router.configuration.settings import load_settings
from router.console.dependencies import is_on_this_machine
from router.console.files import WEB, read_files
from router.http.callers import Callers
from router.http.services import provide
from tests.for_each import for_each
from tests.services import console_services

VENDOR = WEB / "vendor"
WORDS = sorted((WEB / "words").glob("*.json"))
SCRIPTS = [path for path in sorted(WEB.rglob("*")) if path.suffix in (".js", ".mjs")]
OWN = [path for path in SCRIPTS if path.suffix == ".js"]
DEMO = Demo(7, "demo-shop", "http://127.0.0.1:1", None)
IMPORTED = re.compile(r"""(?:import|from)\s*\(?\s*["']([^"']+)["']""")
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def named(path: Path) -> str:
    return path.relative_to(WEB).as_posix()


# --- what comes from elsewhere


def listed() -> list[dict[str, str]]:
    files: list[dict[str, str]] = json.loads((VENDOR / "vendored.json").read_text())["files"]
    return files


@pytest.mark.parametrize("entry", listed(), ids=lambda entry: entry["file"])
def test_a_vendored_file_is_what_the_list_says(entry: dict[str, str]):
    assert hashlib.sha256((VENDOR / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    assert re.fullmatch(r"[0-9a-f]{64}", entry["original_sha256"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", entry["version"])
    licence = (VENDOR / entry["licence_file"]).read_text()
    assert {"MIT": "MIT License", "Apache-2.0": "Apache License"}[entry["licence"]] in licence


def test_the_list_names_every_file_that_is_vendored_and_no_other():
    there = {path.name for path in VENDOR.iterdir() if not path.name.endswith(".d.mts")}
    there -= {"vendored.json"}
    assert there == {entry[key] for entry in listed() for key in ("file", "licence_file")}


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_scripts_import_files_that_are_there_and_nothing_else(path: Path):
    for target in IMPORTED.findall(path.read_text()):
        assert target.startswith("."), f"{target}: a bare import needs an import map"
        assert (path.parent / target).resolve().is_file(), target


@for_each("path", [path for path in sorted(WEB.rglob("*")) if path.is_file()], ids=named)
def test_nothing_leads_elsewhere(path: Path):
    if path.parent == VENDOR:
        return  # its licences name their homes, and nothing fetches them
    foreign = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", path.read_text())
    examples = re.compile(r"(http://www\.w3\.org/|https://[\w-]+\.example\b)")
    assert [url for url in foreign if not examples.match(url)] == []


FORBIDDEN = ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "new Function", " style=")


@pytest.mark.parametrize("path", OWN, ids=named)
def test_own_scripts_do_nothing_that_the_policy_forbids(path: Path):
    text = path.read_text()
    assert text.startswith("// @ts-check\n")
    assert [each for each in (*FORBIDDEN, "dangerouslySet") if each in text] == []


# --- the words


def words(path: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(path.read_text())
    return found


def test_there_are_three_languages():
    assert [path.stem for path in WORDS] == ["en", "es", "pt-BR"]


@pytest.mark.parametrize("path", WORDS, ids=named)
def test_each_language_has_the_same_keys_with_the_same_gaps(path: Path):
    english, own = words(WEB / "words" / "en.json"), words(path)
    assert own.keys() == english.keys()
    for key, text in own.items():
        assert text.strip() == text != "", key
        assert "!" not in text.replace("¡", ""), key
        gaps = sorted(PLACEHOLDER.findall(text))
        assert gaps == sorted(PLACEHOLDER.findall(english[key])), key


def test_every_key_is_used_and_every_used_key_is_there():
    text = "".join(path.read_text() for path in OWN)
    used = set(re.findall(r"""["'`]([a-z_]+(?:\.[a-z_]+)+)["'`]""", text))
    begun = tuple(re.findall(r"`([a-z_]+(?:\.[a-z_]+)*\.)\$\{", text))
    keys = set(words(WEB / "words" / "en.json"))
    kept = {"hybridflow.language", "hybridflow.look", "hybridflow.signed_in"}
    assert {key for key in used - keys - kept if not key.endswith((".js", ".css"))} == set()
    assert {key for key in keys - used if not key.startswith(begun)} == set()


# --- the policy


@pytest.fixture
def pages() -> FastAPI:
    app = create_app(load_settings({"ANTHROPIC_API_KEY": "x"}, env_file=None))
    provide(app, console_services(DEMO))
    return app


def browser(app: FastAPI, base: str = "http://localhost:8000") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base)


CONSOLES = ("/", "/console", "/try", *(f"/console/assets/{name}" for name in read_files()))


async def test_every_path_of_the_console_has_the_policy_and_no_other_has(pages: FastAPI):
    async with browser(pages) as http:
        for path in CONSOLES:
            answer = await http.get(path)
            assert answer.status_code in (200, 307), path
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self';"), path
            assert "require-trusted-types-for 'script'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for path in ("/health/live", "/nowhere", "/api/me", "/console/assets/nothing.js"):
            policy = (await http.get(path)).headers["Content-Security-Policy"]
            assert "script-src" not in policy, path


async def test_files_have_their_kind_and_are_not_sent_twice(pages: FastAPI):
    async with browser(pages) as http:
        for name, file in read_files().items():
            first = await http.get(f"/console/assets/{name}")
            assert first.content == file.body
            assert first.headers["Content-Type"] == file.kind
            again = await http.get(
                f"/console/assets/{name}", headers={"If-None-Match": first.headers["ETag"]}
            )
            assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["../pages.py", "..%2fpages.py", "vendor/LICENSE.htm", "vendor"])
async def test_nothing_but_the_files_is_served(pages: FastAPI, path: str):
    async with browser(pages) as http:
        assert (await http.get(f"/console/assets/{path}")).status_code == 404


async def test_a_page_names_files_that_are_there(pages: FastAPI):
    async with browser(pages) as http:
        for path in ("/console", "/try"):
            page = (await http.get(path)).text
            found = re.findall(r'(?:src|href)="([^"]+)"', page)
            assert len(found) == 5
            for target in found:
                assert (await http.get(target)).status_code == 200, target
            assert "<style" not in page
            assert "style=" not in page


# --- the demo's page


async def test_the_address_leads_to_the_demo_while_there_is_one(pages: FastAPI):
    async with browser(pages) as http:
        assert (await http.get("/")).headers["Location"] == "/try"
        provide(pages, console_services(None))
        assert (await http.get("/")).headers["Location"] == "/console"
        assert (await http.get("/try")).headers["Location"] == "/console"


OF_A_BROWSER = {
    "accept": "text/html", "accept-encoding": "gzip, deflate, br, zstd", "accept-language": "pt-BR",
    "cache-control": "max-age=0", "connection": "keep-alive", "cookie": "a=b", "dnt": "1",
    "if-none-match": "x", "last-event-id": "1/1:1:", "origin": "http://localhost",
    "pragma": "no-cache", "priority": "u=0, i", "referer": "http://localhost/", "sec-ch-ua": "x",
    "sec-fetch-site": "none", "sec-gpc": "1", "te": "trailers",
    "upgrade-insecure-requests": "1", "user-agent": "x",
}  # fmt: skip


@pytest.mark.parametrize(
    ("peer", "headers", "is_here"),
    [
        ("127.0.0.1", {"host": "localhost:8000"}, True),
        ("127.0.0.1", {"host": "localhost"}, True),
        ("127.0.0.1", {"host": "127.0.0.1:8000"}, True),
        ("127.9.9.9", {"host": "LOCALHOST:8000"}, True),
        ("::1", {"host": "[::1]:8000"}, True),
        ("::1", {"host": "[::1]"}, True),
        ("::ffff:127.0.0.1", {"host": "localhost:8000"}, True),
        ("192.168.1.7", {"host": "localhost:8000"}, False),
        ("8.8.8.8", {"host": "localhost"}, False),
        (None, {"host": "localhost"}, False),
        ("127.0.0.1", {"host": "evil.example:8000"}, False),  # DNS rebinding
        ("127.0.0.1", {"host": "localhost.evil.example"}, False),
        ("127.0.0.1", {"host": "localhost:8000@evil.example"}, False),
        ("127.0.0.1", {}, False),
        ("127.0.0.1", {"host": "localhost", "x-forwarded-for": "127.0.0.1"}, False),
        ("127.0.0.1", {"host": "localhost", "x-forwarded-anything": "x"}, False),
        ("127.0.0.1", {"host": "localhost", **OF_A_BROWSER}, True),
    ],
)
def test_the_demo_is_shown_on_its_own_machine_alone(
    peer: str | None, headers: dict[str, str], is_here: bool
):
    scope: dict[str, Any] = {
        "type": "http",
        "client": None if peer is None else (peer, 1),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    assert is_on_this_machine(scope, Callers(())) is is_here
    trusting = Callers(("127.0.0.0/8",))
    assert is_on_this_machine(scope, trusting) in ({is_here, False})
    assert is_on_this_machine({**scope, "http_version": "1.1"}, Callers(())) is is_here
    assert not is_on_this_machine({**scope, "http_version": "1.0"}, Callers(()))  # a proxy's


@for_each(
    "header",
    [
        *("X-Client-IP", "X-Original-Host", "X-Original-For", "X-Original-URL", "Fly-Client-IP"),
        *(
            "True-Client-IP",
            "CF-Connecting-IP",
            "CF-Ray",
            "Fastly-Client-IP",
            "X-Cluster-Client-IP",
        ),
        *("Forwarded", "Forwarded-For", "X-Forwarded", "X-Real-IP", "X-ProxyUser-IP", "Via"),
        *(
            "WL-Proxy-Client-IP",
            "X-Remote-Addr",
            "X-Azure-ClientIP",
            "X-Originating-IP",
            "CDN-Loop",
        ),
        *("X-Appengine-User-IP", "X-Envoy-External-Address", "X-Vercel-IP-Country", "X-Varnish"),
        *("Tailscale-User-Login", "X-Amzn-Trace-Id", "Proxy-Connection", "X-ARR-SSL", "X-Scheme"),
    ],
)
def test_what_came_by_a_proxy_of_this_machine_is_not_of_this_machine(header: str):
    scope = {"type": "http", "client": ("127.0.0.1", 1)}
    lines = [(b"host", b"localhost"), (header.lower().encode(), b"8.8.8.8")]
    assert not is_on_this_machine({**scope, "headers": lines}, Callers(()))


async def test_who_asks_from_elsewhere_is_told_where_it_is(pages: FastAPI):
    async with browser(pages, "http://router.example") as http:
        answer = await http.get("/try")
    assert answer.status_code == 404
    assert "http://localhost" in answer.json()["error"]["message"]
