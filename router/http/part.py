"""The routes of one module, as they are served: path, name, dependencies, possible errors.

FastAPI makes a route when it is declared, and again wherever its router is included, which is half
of a process's start-up time. So nothing is included. What modules have in common is given to each,
and `router/routes.py` puts their routes one behind the other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.params import Depends
from fastapi.routing import APIRoute

Responses = Mapping[int | str, dict[str, Any]]


def part(
    tag: str,
    *,
    prefix: str = "",
    before: Sequence[Depends] = (),
    responses: Responses | None = None,
) -> APIRouter:
    """Return the router of a module; `before` is what a call passes first."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        dependencies=before,
        responses=dict(responses or {}),
        generate_unique_id_function=_operation_id,
    )


def _operation_id(route: APIRoute) -> str:
    """Return what SDKs call the operation: the name of its function, a verb and a noun."""
    return route.name
