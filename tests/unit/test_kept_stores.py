"""Stores of files: no name leads out of them, and what Storage says is understood."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from loopback.faults import wrong_answer
from loopback.supabase import Supabase
from router.kept.bucket import BucketStore
from router.kept.folder import FolderStore
from router.kept.store import NoSuchFile, StoreAway
from router.kept.types import UNKNOWN, file_name_of, media_type_of
from tests import files
from tests.clients import patient

NAME = "1/2/3-0123456789abcdef"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def project() -> Iterator[Supabase]:
    with Supabase("postgres://nobody@127.0.0.1:9/none") as project:
        yield project


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with patient() as http:
        yield http


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "1/2/..",
        f"{NAME}/x",
        f"{NAME}\n",
        "1/2/3-%2e%2e",
        "",
        "1/2",
    ],
)
async def test_no_name_but_ours_reaches_a_path_or_an_address(
    tmp_path: Path, project: Supabase, http: httpx.AsyncClient, name: str
):
    bucket = BucketStore(http, project.url, SecretStr(project.secret_key), "received")
    for store in (FolderStore(tmp_path), bucket):
        with pytest.raises(StoreAway):
            await store.write(name, b"x")
        with pytest.raises(StoreAway):
            await store.read(name, 9)
        with pytest.raises(StoreAway):
            await store.remove(name)
    assert names_in(tmp_path) == []
    assert project.calls == []


async def test_a_folder_has_a_file_whole_or_not_at_all_and_forgets_it(tmp_path: Path):
    store = FolderStore(tmp_path)
    await store.write(NAME, b"first")
    await store.write(NAME, b"second")
    assert await store.read(NAME, 6) == b"second"
    with pytest.raises(NoSuchFile):
        await store.read(NAME, 5)
    path = tmp_path / NAME
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    path.with_name(f"{path.name}.part").write_bytes(b"left by a crash")
    await store.remove(NAME)
    await store.remove(NAME)
    assert names_in(tmp_path) == []
    with pytest.raises(NoSuchFile):
        await store.read(NAME, 6)


async def test_a_folder_that_is_not_there_has_forgotten_nothing(tmp_path: Path):
    store = FolderStore(tmp_path / "unmounted")
    with pytest.raises(StoreAway, match="mount"):
        await store.write(NAME, b"x")
    with pytest.raises(StoreAway, match="mount"):
        await store.remove(NAME)
    with pytest.raises(StoreAway, match="mount"):
        await store.read(NAME, 9)


@pytest.mark.parametrize("is_jwt", [False, True])
async def test_a_bucket_is_made_private_and_used_with_either_kind_of_key(
    project: Supabase, http: httpx.AsyncClient, *, is_jwt: bool
):
    key = project.service_role_key if is_jwt else project.secret_key
    store = BucketStore(http, project.url, SecretStr(key), "received")
    with pytest.raises(StoreAway, match="no bucket"):
        await store.read(NAME, 9)
    await store.write(NAME, b"first")
    await store.write(NAME, b"second")
    assert not project.storage.buckets["received"].is_public
    assert await store.read(NAME, 6) == b"second"
    await store.remove(NAME)
    await store.remove(NAME)
    with pytest.raises(NoSuchFile):
        await store.read(NAME, 6)


async def test_what_storage_says_otherwise_is_told_and_forgets_nothing(
    project: Supabase, http: httpx.AsyncClient
):
    anon = BucketStore(http, project.url, SecretStr(project.jwt("anon")), "received")
    with pytest.raises(StoreAway, match="SUPABASE_SERVICE_ROLE_KEY"):
        await anon.write(NAME, b"x")
    store = BucketStore(http, project.url, SecretStr(project.secret_key), "received")
    page = wrong_answer(404, {"message": "Not Found"})
    project.fail(page, function="storage DELETE")
    with pytest.raises(StoreAway, match="502"):
        await store.remove(NAME)
    nowhere = BucketStore(http, "http://127.0.0.1:9", SecretStr("sb_secret_x"), "received")
    with pytest.raises(StoreAway, match="reached"):
        await nowhere.remove(NAME)


@pytest.mark.parametrize(
    ("content", "kind", "ending"),
    [
        (files.picture(), "image/jpeg", "jpg"),
        (files.word("oi"), WORD, "docx"),
        (files.pdf(), "application/pdf", "pdf"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", UNKNOWN, "bin"),
        (b"<html>", UNKNOWN, "bin"),
        (b"", UNKNOWN, "bin"),
    ],
)  # fmt: skip
def test_a_type_is_told_by_bytes_and_none_is_a_page(content: bytes, kind: str, ending: str):
    assert media_type_of(content) == kind
    assert file_name_of(7, kind) == f"message-7.{ending}"
