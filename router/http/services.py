"""The services that endpoints need, found by their type.

Each room declares its services in its own frozen dataclass; `router.wiring` makes them all, and
`provide` puts them on the application. Only this module reads the application's state, because type
checkers do not know its attributes.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request
from starlette.applications import Starlette
from starlette.types import Scope

_Part = TypeVar("_Part")


def provide(app: Starlette, *parts: object) -> None:
    """Put these parts on the application; each replaces an earlier one of the same type."""
    had: dict[type, object] = getattr(app.state, "services", {})
    app.state.services = {**had, **{type(part): part for part in parts}}


def find(scope: Scope, kind: type[_Part]) -> _Part:
    """Return the part of this type from the application that answers the request.

    Raises RuntimeError before the application has started.
    """
    try:
        part: _Part = scope["app"].state.services[kind]
    except (AttributeError, KeyError) as error:
        raise RuntimeError(
            f"the application has no {kind.__name__}: start it (its lifespan), or `provide` one"
        ) from error
    return part


def given(kind: type[_Part]) -> Callable[[Request], Awaitable[_Part]]:
    """Return a dependency for `Depends` that gives an endpoint the part of this type."""

    async def dependency(request: Request) -> _Part:
        return find(request.scope, kind)

    return dependency
