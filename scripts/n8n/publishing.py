"""Publishes and unpublishes workflows in the database of an n8n that is not running.

n8n's own commands do it for one workflow at a time, and each takes seconds to load. This is what
they write: `publishVersion` and `updateActiveState` of n8n 2.40.7, packages/@n8n/db,
workflow.repository.ts.
"""

from collections.abc import Collection
from contextlib import suppress

import asyncpg

_PUBLISH = """
    update workflow_entity as w
    set active = true, "activeVersionId" = w."versionId", "updatedAt" = current_timestamp(3)
    where w.id = any($1) and not w."isArchived" and exists (
        select from workflow_history as h
        where h."workflowId" = w.id and h."versionId" = w."versionId"
    )
    returning w.id
"""
_UNPUBLISH = """
    update workflow_entity
    set active = false, "activeVersionId" = null, "updatedAt" = current_timestamp(3)
    where id = any($1) and "activeVersionId" is not null
"""


class CannotPublish(Exception):
    """Some workflows cannot be published; the others were. The text has their ids."""


async def publish(database_url: str, ids: Collection[str]) -> None:
    """Publish the current version of each of these workflows.

    Raises CannotPublish if one is missing or archived, or if its version is not stored.
    """
    connection = await asyncpg.connect(database_url)
    try:
        published = {row["id"] for row in await connection.fetch(_PUBLISH, list(ids))}
    finally:
        await connection.close()
    if missing := sorted(set(ids) - published):
        raise CannotPublish(
            f"n8n cannot publish {', '.join(missing)}: archived in n8n, or not imported. The others"
            " are published. Restore it in n8n's editor, and import again."
        )


async def unpublish(database_url: str, ids: Collection[str]) -> None:
    """Unpublish these workflows, where they are published: n8n does not import over them.

    In a database that n8n has never used there are none.
    """
    connection = await asyncpg.connect(database_url)
    try:
        with suppress(asyncpg.UndefinedTableError):
            await connection.execute(_UNPUBLISH, list(ids))
    finally:
        await connection.close()
