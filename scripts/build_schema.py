"""Write database/schema.sql from the migrations: `python -m scripts.build_schema [--check]`.

Pasting the file into Supabase's SQL editor, or `psql -f`, does what migrating does, and pasting it
again does no harm. With --check nothing is written: exit code 1 says that the file is stale.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from router.state.migrations import HISTORY, MIGRATIONS, Migration, MigrationError, read_migrations

SCHEMA = MIGRATIONS.parents[1] / "schema.sql"

_HEADER = """\
-- HybridFlow: the whole schema. Made by `python -m scripts.build_schema` from supabase/migrations/;
-- change those, not this.
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
    """Write or check the file. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Write database/schema.sql from the migrations.")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    check = parser.parse_args(arguments).check
    try:
        text = schema_text(read_migrations())
    except MigrationError as error:
        print(error, file=sys.stderr)
        return 1
    if check:
        return check_file(SCHEMA, text)
    SCHEMA.write_text(text, encoding="utf-8")
    print(f"wrote {SCHEMA}")
    return 0


def schema_text(migrations: Sequence[Migration]) -> str:
    """Return the file's text: the migrations and their history entries, in one transaction."""
    parts = [
        _HEADER,
        "begin;",
        HISTORY + _REFUSE_NEWER.format(newest=migrations[-1].version),
        *(f"-- {'=' * 20} {m.file_name}\n\n{m.sql.strip()}" for m in migrations),
        _history_entries(migrations),
        "commit;",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


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
        f"{path} is not what the migrations make: run `make schema` and commit it", file=sys.stderr
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
