"""Makes the routes of one module in their final form: path, name, dependencies, possible errors.

FastAPI makes a route when it is declared, and again wherever its router is included. That is half
of a process's start-up time, so no router is included. What modules have in common is given to
each, and `router/routes.py` joins their lists of routes.
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
    """Return the router of a module; `before` are the dependencies that run first."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        dependencies=before,
        responses=dict(responses or {}),
        generate_unique_id_function=_operation_id,
    )


def _operation_id(route: APIRoute) -> str:
    """Return the operation's name in SDKs: that of its function, a verb and a noun."""
    return route.name
