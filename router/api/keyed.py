"""What all endpoints of `/api` have in common: every call needs a key or a token."""

from typing import Final

from fastapi import APIRouter, Depends

from router.api.dependencies import authenticate
from router.http.errors import ErrorBody
from router.http.part import Responses, part

_RESPONSES: Final[Responses] = {
    401: {"model": ErrorBody, "description": "No key or token, or a wrong one"},
    403: {"model": ErrorBody, "description": "The caller's role is too low for this"},
    404: {"model": ErrorBody, "description": "Not found, or it belongs to another tenant"},
    409: {"model": ErrorBody, "description": "The current state does not allow this"},
    413: {"model": ErrorBody, "description": "The body is too large"},
    422: {"model": ErrorBody, "description": "A value is invalid"},
    429: {"model": ErrorBody, "description": "Too many calls; Retry-After says when to retry"},
    503: {"model": ErrorBody, "description": "The database or Supabase Auth is away; retry"},
}


def keyed(tag: str, *, prefix: str = "") -> APIRouter:
    """Return the router of a module whose calls need a key; `prefix` comes after /api."""
    return part(tag, prefix=f"/api{prefix}", before=[Depends(authenticate)], responses=_RESPONSES)
