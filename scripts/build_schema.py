"""Write what is made from database/schema/: `python -m scripts.build_schema [--check]`.

database/schema/*.sql is the living source: what is true now, by topic, edited in place; each
statement may run again. Made from it are the newest migration, which brings a database of any
earlier release up to date, and database/schema.sql. Pasting that into Supabase's SQL editor, or
`psql -f`, does what migrating does, and pasting it again does no harm. With --check nothing is
written: exit code 1 says that a file is stale.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from router.state.migrations import HISTORY, MIGRATIONS, Migration, MigrationError, read_migrations

SOURCE = MIGRATIONS.parents[1] / "schema"
SCHEMA = MIGRATIONS.parents[1] / "schema.sql"
UNRELEASED = MIGRATIONS / "20261125194500_v0_2_0.sql"
"""The migration that is still made anew from the living source; earlier ones are frozen."""

_MIGRATION_HEADER = """\
-- HybridFlow 0.2.0: brings a database of an earlier release up to date. Made by
-- `python -m scripts.build_schema` from database/schema/; change that, not this.
"""
_HEADER = """\
-- HybridFlow: the whole schema. Made by `python -m scripts.build_schema` from database/schema/;
-- change that, not this.
--
-- Paste it into Supabase's SQL editor, or run `psql -f schema.sql`. It does what `python -m
-- scripts.migrate` does, all or nothing, and doing it again does no harm.
"""
_REFUSE_NEWER = """\
do $hybridflow$
declare
    v_newest text := (select max(version) from supabase_migrations.schema_migrations);
begin
    if v_newest > '{newest}' then
        raise exception 'the database has migration %, which is newer than this file', v_newest
            using hint = 'Use the schema.sql of the HybridFlow that made it, or a later one.';
    end if;
end
$hybridflow$;
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the files. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Write what is made from database/schema/.")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    check = parser.parse_args(arguments).check
    migration = migration_text()
    if check:
        stale = check_file(UNRELEASED, migration)
        return check_file(SCHEMA, schema_text(read_migrations())) or stale
    UNRELEASED.write_text(migration, encoding="utf-8")
    try:
        text = schema_text(read_migrations())
    except MigrationError as error:
        print(error, file=sys.stderr)
        return 1
    SCHEMA.write_text(text, encoding="utf-8")
    print(f"wrote {UNRELEASED} and {SCHEMA}")
    return 0


def migration_text(source: Path = SOURCE) -> str:
    """Return the text of the migration that is not released yet: the whole living source."""
    return "\n\n".join((_MIGRATION_HEADER.strip(), *_topics(source))) + "\n"


def schema_text(migrations: Sequence[Migration], source: Path = SOURCE) -> str:
    """Return schema.sql: the living source and the history of `migrations`, in one transaction."""
    parts = [
        _HEADER,
        "begin;\nset local client_min_messages = warning;",
        HISTORY + _REFUSE_NEWER.format(newest=migrations[-1].version),
        *_topics(source),
        _history_entries(migrations),
        "commit;",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _topics(source: Path) -> list[str]:
    files = sorted(source.glob("*.sql"))
    return [f"-- {'=' * 20} {f.name}\n\n{f.read_text(encoding='utf-8').strip()}" for f in files]


def _history_entries(migrations: Sequence[Migration]) -> str:
    rows = ",\n".join(f"    ('{m.version}', '{m.name}')" for m in migrations)
    return (
        # The names are those of our own files.
        f"insert into supabase_migrations.schema_migrations (version, name) values\n{rows}\n"
        "on conflict (version) do nothing;"
    )


def check_file(path: Path, text: str) -> int:
    """Return 0 if the file holds `text`; otherwise say so and return 1."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    print(
        f"{path} is not what database/schema/ makes: run `make schema` and commit it",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
