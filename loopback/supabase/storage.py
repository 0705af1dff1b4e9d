"""Supabase Storage on loopback: buckets and objects under `/storage/v1`, with its own answers.

This follows the source of supabase/storage: an error is HTTP 400 (500 for its own faults), with the
real status in its body. Only `service_role` may do anything: there is no policy for others.
"""

import re
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from loopback.supabase.answers import Refused
from loopback.supabase.callers import read_claims

_KEY = re.compile(r"(\w|/|!|-|\.|\*|'|\(|\)| |&|\$|@|=|;|:|\+|,|\?)*", re.ASCII)
_MEGABYTES = 1024 * 1024


class _Fault(Exception):
    """Storage refuses: the real status, the text, and the code of newer releases."""

    def __init__(self, status: int, code: str, error: str, message: str) -> None:
        super().__init__(message)
        self.body = {"statusCode": str(status), "code": code, "error": error, "message": message}


def _no_bucket() -> _Fault:
    return _Fault(404, "NoSuchBucket", "Bucket not found", "Bucket not found")


def _no_object() -> _Fault:
    return _Fault(404, "NoSuchKey", "not_found", "Object not found")


def _is_there(code: str) -> _Fault:
    return _Fault(409, code, "Duplicate", "The resource already exists")


@dataclass
class Bucket:
    """A bucket; `limit` is the maximum size of an object in bytes."""

    is_public: bool = False
    limit: int = 50 * _MEGABYTES
    objects: dict[str, tuple[bytes, str]] = field(default_factory=dict)


class Storage:
    """The service. `upserts = False`: like releases that refuse to replace an object."""

    def __init__(self, jwt_secret: str) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.upserts = True
        self._secret = jwt_secret

    async def answer(self, request: Request, path: str) -> Response:
        """Answer a request; `path` is below /storage/v1, without its first slash."""
        try:
            self._require_service(request, path)
            return await self._answer(request, path)
        except _Fault as fault:
            return JSONResponse(fault.body, status_code=400)

    def _require_service(self, request: Request, path: str) -> None:
        header = request.headers.get("Authorization")
        if header is None:
            message = "headers must have required property 'authorization'"
            raise _Fault(400, "InvalidRequest", "Error", message)
        try:
            claims = read_claims(header, self._secret)
        except Refused:
            raise _Fault(403, "AccessDenied", "Unauthorized", "Invalid Compact JWS") from None
        if claims["role"] != "service_role":
            if request.method in ("GET", "DELETE"):
                raise _no_bucket() if path.startswith("bucket/") else _no_object()
            message = "new row violates row-level security policy"
            raise _Fault(403, "AccessDenied", "Unauthorized", message)

    async def _answer(self, request: Request, path: str) -> Response:
        what, _, rest = path.partition("/")
        match request.method, what:
            case "POST", "bucket" if not rest:
                return await self._make_bucket(request)
            case "GET", "bucket" if rest:
                found = self._bucket(rest)
                told = {"id": rest, "name": rest, "public": found.is_public}
                return JSONResponse({**told, "file_size_limit": found.limit})
            case "POST", "object":
                return await self._write(request, *self._place(rest))
            case "GET", "object":
                bucket, name = self._place(rest.removeprefix("authenticated/"))
                self._bucket(bucket)
                content, kind = self._object(bucket, name)
                return Response(content, media_type=kind)
            case "DELETE", "object":
                bucket, name = self._place(rest)
                self._object(bucket, name)
                del self._bucket(bucket).objects[name]
                return JSONResponse({"message": "Successfully deleted"})
        message = f"Route {request.method}:/{path} not found"
        body = {"message": message, "error": "Not Found", "statusCode": 404}
        return JSONResponse(body, status_code=404)

    def _place(self, path: str) -> tuple[str, str]:
        bucket, _, name = path.partition("/")
        if not name or not _KEY.fullmatch(name):
            raise _Fault(400, "InvalidKey", "InvalidKey", f"Invalid key: {name}")
        return bucket, name

    def _bucket(self, name: str) -> Bucket:
        if name not in self.buckets:
            raise _no_bucket()
        return self.buckets[name]

    def _object(self, bucket: str, name: str) -> tuple[bytes, str]:
        # When an object is deleted, a missing bucket is reported as a missing object.
        if bucket not in self.buckets or name not in self.buckets[bucket].objects:
            raise _no_object()
        return self.buckets[bucket].objects[name]

    async def _make_bucket(self, request: Request) -> Response:
        asked = await request.json()
        name = asked.get("id") or asked["name"]
        if name in self.buckets:
            raise _is_there("BucketAlreadyExists")
        self.buckets[name] = Bucket(is_public=bool(asked.get("public")))
        return JSONResponse({"name": name})

    async def _write(self, request: Request, bucket: str, name: str) -> Response:
        place = self._bucket(bucket)
        content = await request.body()
        if len(content) > place.limit:
            message = "The object exceeded the maximum allowed size"
            raise _Fault(413, "EntityTooLarge", "Payload too large", message)
        replaces = self.upserts and request.headers.get("x-upsert") == "true"
        if name in place.objects and not replaces:
            raise _is_there("KeyAlreadyExists")
        kind = request.headers.get("Content-Type", "application/octet-stream")
        place.objects[name] = (content, kind)
        return JSONResponse({"Key": f"{bucket}/{name}", "Id": "0" * 8})
