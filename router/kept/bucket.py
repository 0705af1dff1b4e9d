"""Files in a private bucket of Supabase Storage, which is created if there is none.

Storage answers most errors with HTTP 400; the real status is in the body. Newer releases also send
a `code`. It says 404 for a missing file, and also for a missing bucket.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from router.kept.store import NoSuchFile, StoreAway, StoreKind, StoreRefuses, checked
from router.logs.scrubber import scrubbed
from router.outbound.answers import beginning, read_json

_SECONDS = 60.0  # for one request as a whole
_LOOK_AGAIN = 300.0  # seconds until the bucket is checked again: somebody may make it public
_SLACK = 1024


@dataclass(frozen=True, slots=True)
class _Said:
    """Storage's answer: the status in its body, and its message."""

    status: int
    words: str
    content: bytes

    @property
    def is_done(self) -> bool:
        return 200 <= self.status < 300

    @property
    def has_no_bucket(self) -> bool:
        return self.status == 404 and "bucket" in self.words.lower()


class BucketStore:
    """A bucket of the project that SUPABASE_URL names."""

    kind: StoreKind = "bucket"

    def __init__(self, http: httpx.AsyncClient, url: str, key: SecretStr, bucket: str) -> None:
        self._http = http
        self._url = f"{url}/storage/v1"
        self._key = key
        self._bucket = bucket
        self._looked_at: float | None = None

    async def write(self, name: str, content: bytes) -> None:
        """See FileStore. Raises StoreRefuses for a file larger than the bucket accepts."""
        path = f"object/{self._bucket}/{checked(name)}"
        await self._require_private()
        headers = {
            "Content-Type": "application/octet-stream",
            "Cache-Control": "max-age=0",
            "x-upsert": "true",
        }
        said = await self._ask("POST", path, headers, content=content)
        if said.is_done or said.status == 409:  # an earlier try has written it
            return
        if said.status == 413:
            raise StoreRefuses("the file is larger than the bucket's limit in Supabase Storage")
        if said.has_no_bucket:
            self._looked_at = None
        raise _away(said)

    async def read(self, name: str, most: int) -> bytes:
        """See FileStore."""
        path = f"object/authenticated/{self._bucket}/{checked(name)}"
        said = await self._ask("GET", path, longest=most + _SLACK)
        if said.status == 404 and not said.has_no_bucket:
            raise NoSuchFile(name)
        if not said.is_done:
            raise _away(said)
        if len(said.content) > most:
            raise NoSuchFile(name)
        return said.content

    async def remove(self, name: str) -> None:
        """See FileStore."""
        said = await self._ask("DELETE", f"object/{self._bucket}/{checked(name)}")
        if not said.is_done and (said.status != 404 or said.has_no_bucket):
            raise _away(said)

    async def _require_private(self) -> None:
        """Make sure the bucket exists. Raises StoreAway if it is public."""
        if self._looked_at is not None and time.monotonic() < self._looked_at + _LOOK_AGAIN:
            return
        said = await self._ask("GET", f"bucket/{self._bucket}")
        if said.has_no_bucket:
            made = await self._ask(
                "POST", "bucket", json={"id": self._bucket, "name": self._bucket, "public": False}
            )
            if not made.is_done and made.status != 409:
                raise _away(made)
            said = await self._ask("GET", f"bucket/{self._bucket}")
        if not said.is_done:
            raise _away(said)
        told = _read(said.content)
        if told.get("public") is not False:
            raise StoreAway(
                "the bucket of MEDIA_BUCKET is public: anybody with an address could read what"
                " customers send. Make it private, or name another"
            )
        self._looked_at = time.monotonic()

    async def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        longest: int | None = None,
        **body: Any,
    ) -> _Said:
        """Return Storage's answer. Raises StoreAway if there is none."""
        secret = self._key.get_secret_value()
        shown = {"apikey": secret, **(headers or {})}
        if not secret.startswith("sb_"):  # newer keys are not JWTs, and are sent only as `apikey`
            shown["Authorization"] = f"Bearer {secret}"
        extensions = {} if longest is None else {"longest": longest}
        try:
            answer = await self._http.request(
                method,
                f"{self._url}/{path}",
                headers=shown,
                timeout=_SECONDS,
                follow_redirects=False,
                extensions=extensions,
                **body,
            )
        except httpx.HTTPError as error:
            why = f"Supabase Storage cannot be reached: {type(error).__name__}"
            raise StoreAway(why) from error
        return _said(answer)


def _said(answer: httpx.Response) -> _Said:
    if answer.is_success:
        return _Said(answer.status_code, "", answer.content)
    told = _read(answer.content)
    status = str(told.get("statusCode", ""))
    if not told or (answer.status_code == 404 and not status):
        # The answer is not Storage's, so nothing is known about the file.
        return _Said(502, beginning(answer.content, 200), b"")
    words = " ".join(str(told.get(name, "")) for name in ("code", "error", "message"))
    return _Said(int(status) if status.isdecimal() else answer.status_code, words, b"")


def _read(content: bytes) -> Mapping[str, Any]:
    try:
        told = read_json(content)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _away(said: _Said) -> StoreAway:
    if said.status in (401, 403):
        return StoreAway("Supabase Storage does not take SUPABASE_SERVICE_ROLE_KEY")
    if said.has_no_bucket:
        return StoreAway("the project has no bucket of the name in MEDIA_BUCKET")
    return StoreAway(f"Supabase Storage answered {said.status}: {scrubbed(said.words)[:100]}")
