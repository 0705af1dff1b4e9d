"""Recent changes, and who may follow them.

database/schema/0894_changes.sql, 0894_changes_read.sql and 0894_followers.sql.
"""

from collections.abc import Mapping
from typing import Literal

from router.state.calls.model import Answer, Asked, Done, Items, call
from router.state.database import Database


class Change(Answer):
    """One change, as ids; or a message among routers, which belongs to no tenant.

    `sign_in`: the browser with this sign-in signed out. `router`: this router is here, or calls.
    """

    tenant_id: int | None
    session_id: int | None
    turn_id: int | None
    kind: str
    sign_in: str | None
    router: str | None


class Changes(Answer):
    """What changed, up to `position`. `lost`: older changes may exist that can no longer be read.

    In each of `lost_tenants` too much has changed, so none of their changes is reported.
    """

    position: str
    lost: bool
    lost_tenants: Items[int]
    changes: Items[Change]


class Followed(Answer):
    """What changed in one tenant; the fields are those of `Changes`."""

    position: str
    lost: bool
    changes: Items[Change]


class ReadChanges(Asked):
    """The tenants, and the position of the last call; without one, no changes are read."""

    tenant_ids: tuple[int, ...]
    since: str | None = None


async def read_changes(database: Database, asked: ReadChanges) -> Changes:
    """Return what changed in these tenants."""
    return await call(database, "read_changes", asked, Changes)


class FollowTenant(Asked):
    """The tenant, and the position from which to follow it."""

    tenant_id: int
    since: str | None = None


async def follow_tenant(database: Database, asked: FollowTenant) -> Followed:
    """Return what changed in the tenant, for a new follower. Raises NotFound."""
    return await call(database, "follow_tenant", asked, Followed)


class MayFollow(Asked):
    """Callers, each with a tenant that it follows: {caller, tenant_id}."""

    followers: tuple[Mapping[str, object], ...]


class Ended(Answer):
    """A caller that may no longer follow: its index in the list, and why."""

    place: int
    reason: str


class MayNot(Answer):
    """The callers that may no longer follow."""

    ended: Items[Ended]


async def may_follow(database: Database, asked: MayFollow) -> MayNot:
    """Return which callers may no longer follow their tenant."""
    return await call(database, "may_follow", asked, MayNot)


class EndSignIn(Asked):
    """A hash of the browser's sign-in."""

    sign_in: str


async def end_sign_in(database: Database, asked: EndSignIn) -> Done:
    """Tell all routers that a browser signed out."""
    return await call(database, "end_sign_in", asked, Done)


class CallFollowers(Asked):
    """A message to the routers that listen, and its sender."""

    says: Literal["changed", "follows"]
    by: str


async def call_followers(database: Database, asked: CallFollowers) -> Done:
    """Send a message to other routers; only those with a direct connection get it."""
    return await call(database, "call_followers", asked, Done)


class GreetRouters(Asked):
    """The name of this router."""

    by: str


async def greet_routers(database: Database, asked: GreetRouters) -> Done:
    """Announce this router to routers that cannot listen."""
    return await call(database, "greet_routers", asked, Done)


class Forgotten(Answer):
    """How many changes were deleted; `more`: there are others, so call it again."""

    forgotten: int
    more: bool


async def forget_changes(database: Database) -> Forgotten:
    """Delete changes that are past their time."""
    return await call(database, "forget_changes", None, Forgotten)
