"""Write what is made from database/schema/: `python -m scripts.build_schema [--check]`.

database/schema/*.sql is the living source: the current schema, by topic, edited in place; each
statement can run again. Two files are made from it: the newest migration, which brings a database
of any earlier release up to date, and database/schema.sql. Pasting schema.sql into Supabase's SQL
editor, or running it with `psql -f`, has the same effect as migrating, and doing it again does no
harm. One file of the source and docs/tenant-settings.md are made from the settings that
router/configuration/tenant_settings.py declares. With --check nothing is written: exit code 1 means
that a file is stale.

A release freezes the newest migration: --freeze records its checksum in released.sha256, and the
migration is never generated again. --begin VERSION begins the migration of the next release.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from router.state.history import HISTORY, adopt, checksum, read_lock, tell_supabase
from router.state.migrations import (
    LOCK_FILE,
    MIGRATIONS,
    Migration,
    MigrationError,
    read_migrations,
)
from scripts.function_headers import give_way
from scripts.made_of_settings import settings_page, settings_sql
from scripts.running import called

SOURCE = MIGRATIONS.parents[1] / "schema"
SCHEMA = MIGRATIONS.parents[1] / "schema.sql"
SETTINGS_SQL = SOURCE / "0790_tenant_settings.sql"
SETTINGS_PAGE = MIGRATIONS.parents[2] / "docs" / "tenant-settings.md"

_MIGRATION_HEADER = """\
-- HybridFlow {release}: brings a database of an earlier release up to date. Made by
-- `python -m scripts.build_schema` from database/schema/; change that, not this.
"""
_HEADER = """\
-- HybridFlow: the whole schema. Made by `python -m scripts.build_schema` from database/schema/;
-- change that, not this.
--
-- Paste it into Supabase's SQL editor, or run `psql -f schema.sql`. It does what `python -m
-- scripts.migrate` does, all or nothing, and doing it again does no harm.
"""
_OWN_ENTRY = """\
-- For the supabase CLI, which records only its own history.
insert into hybridflow.migrations (version, name) values ('{version}', '{name}')
on conflict (version) do nothing;
"""
_REFUSE_NEWER = """\
do $hybridflow$
declare
    v_newest text := (select max(version) from hybridflow.migrations);
begin
    if v_newest > '{newest}' then
        raise exception 'the database has HybridFlow''s migration %, which is newer than this file',
            v_newest using hint = 'Use the schema.sql of the HybridFlow that made it, or a later.';
    end if;
end
$hybridflow$;
"""


class SourceHasChanged(MigrationError):
    """The newest migration is released, and the living source has changed since then."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the files. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=called("scripts.build_schema"),
        description="Write what is made from database/schema/.",
    )
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--check", action="store_true", help="only check whether it is up to date")
    wanted.add_argument(
        "--freeze", action="store_true", help="freeze the newest migration: it is released"
    )
    wanted.add_argument(
        "--begin", metavar="VERSION", help="begin the migration of the next release"
    )
    asked = parser.parse_args(arguments)
    try:
        if asked.check:
            return check()
        if asked.begin:
            begin(asked.begin)
        write_settings()
        written = write()
        if asked.freeze:
            freeze()
    except MigrationError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"wrote {written} and {SCHEMA}")
    return 0


def check() -> int:
    """Return 0 if all generated files are up to date; print those that are not."""
    newest = newest_file()
    stale = [
        check_file(SETTINGS_SQL, settings_sql(), "the declared settings"),
        check_file(SETTINGS_PAGE, settings_page(), "the declared settings"),
        check_file(newest, migration_text(newest)),
        check_file(SCHEMA, schema_text(read_migrations())),
    ]
    return max(stale)


def write_settings() -> None:
    """Write the files that are made from the declared settings of tenants."""
    SETTINGS_SQL.write_text(settings_sql(), encoding="utf-8")
    SETTINGS_PAGE.write_text(settings_page(), encoding="utf-8")


def write(folder: Path = MIGRATIONS, source: Path = SOURCE, schema: Path = SCHEMA) -> Path:
    """Write the newest migration and schema.sql. Raises SourceHasChanged if it is frozen."""
    newest = newest_file(folder)
    text = migration_text(newest, source)
    if newest.name not in read_lock(folder.parent / LOCK_FILE):
        newest.write_text(text, encoding="utf-8")
    elif checksum(text) != read_lock(folder.parent / LOCK_FILE)[newest.name]:
        raise SourceHasChanged(
            f"{newest.name} is released, and {source} has changed since: begin the next release's"
            " migration with python -m scripts.build_schema --begin VERSION"
        )
    schema.write_text(schema_text(read_migrations(folder), source), encoding="utf-8")
    return newest


def begin(release: str, folder: Path = MIGRATIONS, now: datetime | None = None) -> Path:
    """Create a release's migration file, named by the time. The one before must be frozen."""
    newest = newest_file(folder)
    if newest.name not in read_lock(folder.parent / LOCK_FILE):
        raise MigrationError(f"{newest.name} is not released yet: add the changes there")
    if not re.fullmatch(r"\d+\.\d+\.\d+", release):
        raise MigrationError(f"{release!r} is not a version: write it like 0.3.0")
    moment = (now or datetime.now(UTC)).strftime("%Y%m%d%H%M%S")
    file = folder / f"{moment}_v{release.replace('.', '_')}.sql"
    file.touch()
    return file


def freeze(folder: Path = MIGRATIONS) -> None:
    """Record the checksum of the newest migration, which is now released."""
    newest = newest_file(folder)
    lock = folder.parent / LOCK_FILE
    known = read_lock(lock)
    if newest.name in known:
        raise MigrationError(f"{newest.name} is released already")
    known[newest.name] = checksum(newest.read_text(encoding="utf-8"))
    lines = [f"{known[name]}  {folder.name}/{name}\n" for name in sorted(known)]
    lock.write_text("".join(lines), encoding="utf-8")


def newest_file(folder: Path = MIGRATIONS) -> Path:
    """Return the migration that is made from the living source."""
    return max(folder.glob("*.sql"))


def migration_text(file: Path, source: Path = SOURCE) -> str:
    """Return the text of the migration `file`: the whole living source, and its history entry."""
    version, _, name = file.stem.partition("_")
    parts = [
        _MIGRATION_HEADER.format(release=name.removeprefix("v").replace("_", ".")),
        HISTORY,
        *_topics(source),
        _OWN_ENTRY.format(version=version, name=name),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def schema_text(migrations: Sequence[Migration], source: Path = SOURCE) -> str:
    """Return schema.sql: the living source and the history of `migrations`, in one transaction."""
    ours = [(m.version, m.name) for m in migrations]
    parts = [
        _HEADER,
        "begin;\nset local client_min_messages = warning;",
        HISTORY + adopt(ours) + _REFUSE_NEWER.format(newest=migrations[-1].version),
        *_topics(source),
        _history_entries(migrations),
        tell_supabase(ours),
        "commit;",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _topics(source: Path) -> list[str]:
    texts = {file.name: file.read_text(encoding="utf-8") for file in sorted(source.glob("*.sql"))}
    topics = [f"-- {'=' * 20} {name}\n\n{text.strip()}" for name, text in texts.items()]
    giving_way = give_way("\n".join(texts.values()))
    # After the files that free names, and before those that create anything.
    return [*topics[:1], giving_way, *topics[1:]] if giving_way else topics


def _history_entries(migrations: Sequence[Migration]) -> str:
    """Return SQL that records what a paste applies. A released file's other checksum stays."""
    newest = migrations[-1]
    again = "" if newest.released else f" or excluded.version = '{newest.version}'"
    rows = ",\n".join(f"    ('{m.version}', '{m.name}', '{m.checksum}')" for m in migrations)
    return (
        # The names come from our own files.
        f"insert into hybridflow.migrations (version, name, checksum) values\n{rows}\n"
        "on conflict (version) do update set checksum = excluded.checksum\n"
        f"where migrations.checksum is null{again};"
    )


def check_file(path: Path, text: str, source: str = "database/schema/") -> int:
    """Return 0 if the file holds `text`; otherwise say so and return 1."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    print(
        f"{path} differs from what {source} generates: run `make schema` and commit it",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
