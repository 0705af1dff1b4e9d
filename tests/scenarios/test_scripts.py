"""The commands, as they are typed."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from scripts import catch_up, operators, tenant
from tests.scenarios.office import WEBHOOK_SECRET
from tests.supabase import TestProject

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _configured(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder without .env, and a configuration that names the test's database and no more."""
    for name in list(os.environ):
        if name.isupper() and name.split("_")[0] in ("SUPABASE", "EVOLUTION", "PUBLIC", "LLM"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("ALLOWED_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("EVOLUTION_WEBHOOK_SHARED_SECRET", WEBHOOK_SECRET)


def typed(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell would; the current folder is the test's own."""
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def add_shop(*more: str) -> None:
    assert tenant.main(["add", "shop", "--server", "http://127.0.0.1:9", *more]) == 0


async def rows(database_url: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database_url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


# tenant


def test_commands_work_over_supabases_keys_alone(
    postgrest: TestProject,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    for name, value in postgrest.configuration.items():
        monkeypatch.setenv(name, value)
    add_shop("--key", "EVO-SECRET")
    assert tenant.main(["list"]) == 0
    assert "shop" in capsys.readouterr().out
    assert "as_operator" in postgrest.calls


def test_tenants_are_added_listed_and_changed(capsys: pytest.CaptureFixture[str]):
    assert tenant.main(["list"]) == 0
    assert "no tenant yet" in capsys.readouterr().out
    add_shop("--key", "EVO-SECRET", "llm_provider=openai", "resume_after_hours=3")
    assert "scripts.tenant connect shop" in capsys.readouterr().out
    assert tenant.main(["set", "shop", "llm_model=big", "unanswered_kinds=sticker, ptt"]) == 0
    assert capsys.readouterr().out == "llm_model = 'big'\nunanswered_kinds = ['sticker', 'ptt']\n"
    assert tenant.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "EVO-SECRET" not in listed
    assert listed.splitlines()[1].split() == [
        *("1", "shop", "http://127.0.0.1:9", "own", "openai/big", "yes", "not", "known")
    ]


def test_a_value_is_read_from_a_file_and_taken_away_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    add_shop()
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Seja gentil.\n", encoding="utf-8")
    capsys.readouterr()
    assert tenant.main(["set", "shop", f"system_prompt=@{prompt}"]) == 0
    assert capsys.readouterr().out == "system_prompt = 'Seja gentil.'\n"
    assert tenant.main(["set", "shop", "system_prompt=", "evo_api_key="]) == 0
    assert capsys.readouterr().out == "evo_api_key is not set\nsystem_prompt = None\n"


def test_the_prompt_is_given_with_the_tenant_and_changed_later(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    add_shop("--prompt", "You answer for Loja Sol. Be brief.", "llm_provider=openai")
    capsys.readouterr()
    assert tenant.main(["set", "shop", "llm_model=big"]) == 0
    assert tenant.main(["set", "shop", "--prompt", "@ is a sign like any other"]) == 0
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Seja gentil.\nE breve.\n", encoding="utf-8")
    assert tenant.main(["set", "shop", "--prompt-file", str(prompt), "llm_model="]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "llm_model = 'big'",
        "system_prompt = '@ is a sign like any other'",
        "llm_model = None",
        "system_prompt = 'Seja gentil.\\nE breve.'",
    ]
    assert tenant.main(["set", "shop", "--prompt", ""]) == 0
    assert capsys.readouterr().out == "system_prompt = None\n"


def test_a_prompt_from_a_file_comes_with_a_new_tenant_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, database_url: str
):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Seja gentil.\n", encoding="utf-8")
    add_shop("--prompt-file", str(prompt))
    capsys.readouterr()
    (kept,) = asyncio.run(rows(database_url, "select system_prompt from tenants"))
    assert kept["system_prompt"] == "Seja gentil."
    assert tenant.main(["add", "nova", "--server", "http://e", "--prompt-file", "nowhere.txt"]) == 1
    assert capsys.readouterr().err.startswith("cannot read the prompt from nowhere.txt")


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("set shop", "nothing to set"),
        ("set shop --prompt a --prompt-file b", "not allowed with argument --prompt"),
        ("set shop --prompt a system_prompt=b", "the prompt is given twice"),
        ("add nova --server http://e --prompt a system_prompt=b", "the prompt is given twice"),
        ("set shop --colour red", "not understood: --colour red"),
        ("add nova --server http://e colour --red", "not understood: colour --red"),
        ("list nova", "not understood: nova"),
    ],
)
def test_what_is_not_understood_is_said(
    capsys: pytest.CaptureFixture[str], command: str, fault: str
):
    with pytest.raises(SystemExit) as stopped:
        tenant.main(command.split())
    assert stopped.value.code == 2
    assert fault in capsys.readouterr().err


def test_a_key_can_be_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("getpass.getpass", lambda prompt: "EVO-SECRET")
    add_shop("--key", "-")
    assert tenant.main(["set", "shop", "evo_api_key=-"]) == 0
    out = capsys.readouterr().out
    assert "evo_api_key is set" in out
    assert "EVO-SECRET" not in out


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("add shop --server http://evolution.example", "another tenant has the instance shop"),
        ("add nova --server evolution.example", "evo_server_url must begin with http"),
        ("add nova --server http://e llm_provider=abacus", "must be anthropic or openai"),
        ("set shop colour=red", "a tenant has no colour that can be set; there are instance_name"),
        ("set shop resume_after_hours=soon", "resume_after_hours has a value that it cannot have"),
        ("set shop is_active=", "is_active must have a value"),
        ("set shop llm_model", "'llm_model' is not name=value"),
        ("set shop system_prompt=@nowhere.txt", "cannot read system_prompt from nowhere.txt"),
        ("set nobody llm_model=x", "there is no tenant with the instance nobody"),
        ("connect nobody --url https://r", "there is no tenant with the instance nobody"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], command: str, fault: str
):
    add_shop()
    capsys.readouterr()
    assert tenant.main(command.split()) == 1
    said = capsys.readouterr()
    assert fault in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_a_command_that_is_none_is_explained():
    done = typed("-m", "scripts.tenant", "delete", "shop")
    assert done.returncode == 2
    assert "choose from" in done.stderr


def test_without_a_way_back_a_phone_is_not_connected(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    add_shop("--key", "key-of-the-shop")
    assert tenant.main(["connect", "shop"]) == 1
    assert "set PUBLIC_URL" in capsys.readouterr().err
    assert tenant.main(["connect", "shop", "--url", "router.example"]) == 1
    assert "is not a URL" in capsys.readouterr().err
    monkeypatch.delenv("EVOLUTION_WEBHOOK_SHARED_SECRET")
    assert tenant.main(["connect", "shop", "--url", "https://router.example"]) == 1
    assert "EVOLUTION_WEBHOOK_SHARED_SECRET is not set" in capsys.readouterr().err


def test_a_tenant_without_any_key_is_not_connected(capsys: pytest.CaptureFixture[str]):
    add_shop()
    assert tenant.main(["connect", "shop", "--url", "https://router.example"]) == 1
    assert "evo_api_key or EVOLUTION_API_KEY" in capsys.readouterr().err


# auto_resume


@pytest.mark.parametrize(
    "command", [("-m", "scripts.auto_resume"), (str(ROOT / "scripts" / "auto_resume.py"),)]
)
def test_auto_resume_runs_once_and_logs_how_many(command: tuple[str, ...]):
    done = typed(*command, PYTHONPATH=str(ROOT) if command[0] == "-m" else "")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    (said,) = [line for line in lines if line.get("action") == "auto_resumed"]
    assert said["message"] == "Auto-resumed 0 sessions"


def test_auto_resume_fails_where_there_is_no_database():
    done = typed("-m", "scripts.auto_resume", DATABASE_URL="postgresql://nobody@127.0.0.1:9/none")
    assert done.returncode == 1
    assert "cannot connect to the database" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_cannot_be_used_is_explained():
    done = typed("-m", "scripts.auto_resume", RESUME_AFTER_HOURS="soon")
    assert done.returncode == 1
    assert "RESUME_AFTER_HOURS" in done.stderr
    assert "Traceback" not in done.stderr


# catch_up


def test_catching_up_says_which_tenant_could_not_be(capsys: pytest.CaptureFixture[str]):
    add_shop("--key", "key-of-the-shop")
    capsys.readouterr()
    assert catch_up.main([]) == 1
    assert capsys.readouterr().err.startswith("shop: ")
    assert catch_up.main(["--instance", "nobody"]) == 1
    assert "no tenant with the instance nobody" in capsys.readouterr().err


def test_catching_up_leaves_tenants_that_are_not_active_alone():
    add_shop("is_active=false")
    assert catch_up.main([]) == 0


@pytest.mark.parametrize("since", ["yesterday", "12", "h", "2026-13-01"])
def test_a_time_that_is_none_is_explained(capsys: pytest.CaptureFixture[str], since: str):
    with pytest.raises(SystemExit) as stopped:
        catch_up.main(["--since", since])
    assert stopped.value.code == 2
    assert "write 2026-01-31T08:00Z" in capsys.readouterr().err


# operators


def test_keys_are_made_listed_and_revoked(capsys: pytest.CaptureFixture[str]):
    assert operators.main(["keys"]) == 0
    assert "only the keys of API_KEYS" in capsys.readouterr().out
    add_shop()
    capsys.readouterr()
    new = ["new-key", "dashboard", "--role", "viewer", "--tenant", "shop", "--days", "30"]
    assert operators.main(new) == 0
    key, told = capsys.readouterr().out.split("\n", 1)
    assert key.startswith("hfk_")
    assert "key 1, viewer of tenant 1" in told
    assert operators.main(["keys"]) == 0
    listed = capsys.readouterr().out
    assert f"{key[:12]}...  viewer    tenant 1  dashboard  never used  holds until" in listed
    assert key not in listed
    assert operators.main(["revoke-key", "1"]) == 0
    assert "Key 1 (dashboard) was revoked" in capsys.readouterr().out
    assert operators.main(["revoke-key", "7"]) == 1
    assert capsys.readouterr().err == "there is no API key 7\n"


def test_members_are_set_listed_and_removed_and_all_of_it_is_audited(
    capsys: pytest.CaptureFixture[str],
):
    user = "0198c0de-0000-7000-8000-00000000a11a"
    add_shop()
    assert operators.main(["members", "shop"]) == 0
    assert operators.main(["set-member", "shop", user, "operator"]) == 0
    assert operators.main(["members", "shop"]) == 0
    assert operators.main(["remove-member", "shop", user]) == 0
    assert operators.main(["remove-member", "shop", user]) == 0
    told = capsys.readouterr().out
    assert "shop has no member" in told
    assert f"{user}  operator  since" in told
    assert f"{user} is no longer a member of shop." in told
    assert f"{user} was not a member of shop." in told
    assert operators.main(["audit", "shop", "--lines", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[2] for line in lines] == [
        "remove_member",
        "remove_member",
        "set_member",
    ]
    assert '{"role": "operator", "user_id": ' in lines[-1]
    assert operators.main(["set-member", "shop", "ana", "operator"]) == 1
    assert "user_id" in capsys.readouterr().err


def test_a_key_needs_a_reach_of_its_own_choosing(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        operators.main(["new-key", "x", "--role", "admin"])
    assert stopped.value.code == 2
    assert "--tenant" in capsys.readouterr().err
    assert operators.main(["new-key", "x", "--role", "admin", "--tenant", "nobody"]) == 1
    assert "no tenant with the instance nobody" in capsys.readouterr().err
