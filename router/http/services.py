"""What the rooms that answer requests need, found by its type.

Each room declares its needs in its own frozen dataclass; `router.wiring` makes all of them, and
`provide` puts them on the application. Only this module reads the application's state, because a
type checker knows none of its names.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request
from starlette.applications import Starlette
from starlette.types import Scope

_Part = TypeVar("_Part")


def provide(app: Starlette, *parts: object) -> None:
    """Give the application these parts, each replacing an earlier one of the same type."""
    had: dict[type, object] = getattr(app.state, "services", {})
    app.state.services = {**had, **{type(part): part for part in parts}}


def find(scope: Scope, kind: type[_Part]) -> _Part:
    """Return the part of this type, of the application that answers a request.

    Raises RuntimeError before the application has started: nothing can be answered with it yet.
    """
    try:
        part: _Part = scope["app"].state.services[kind]
    except (AttributeError, KeyError) as error:
        raise RuntimeError(
            f"the application has no {kind.__name__}: start it (its lifespan), or `provide` one"
        ) from error
    return part


def given(kind: type[_Part]) -> Callable[[Request], Awaitable[_Part]]:
    """Return the dependency that gives an endpoint the part of this type, for `Depends`."""

    async def dependency(request: Request) -> _Part:
        return find(request.scope, kind)

    return dependency
