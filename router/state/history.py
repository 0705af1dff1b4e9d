"""HybridFlow's own record of applied migrations, beside that of the supabase CLI. Pure.

The record is in `hybridflow.migrations`, so that it does not conflict with another team's
migrations in the same project. `supabase_migrations` is also updated, but only if the CLI has
pushed HybridFlow itself, or HybridFlow 0.1.0 wrote there.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

HISTORY = """\
create schema if not exists hybridflow;
create table if not exists hybridflow.migrations (
    version text primary key,
    name text not null,
    checksum text,
    applied_at timestamptz not null default now()
);
comment on table hybridflow.migrations is
'Which files of HybridFlow were applied; checksum: SHA-256 of the text, null: pushed by a CLI.';
alter table hybridflow.migrations enable row level security;
"""

# 0.1.0 kept its record in the supabase CLI's table: 23 entries.
_OF_0_1_0 = """\
000100 tables, 000150 limits, 000200 sessions, 000300 pauses, 000400 turns, 000500 sends,
000550 loops, 000600 ingest, 000700 reading, 000800 tenants, 000820 secrets, 000830 operators,
000840 keys_and_members, 000845 members_read, 000850 gateway, 000860 executions, 000870 notices,
000880 safety, 000890 lifecycle, 000895 people, 000899 version, 000900 grants, 000910 row_security
"""

_ADOPT = """\
do $hybridflow$
begin
    if pg_catalog.to_regclass('supabase_migrations.schema_migrations') is not null then
        insert into hybridflow.migrations (version, name, checksum)
        select m.version, m.name, case
            when jsonb_array_length(nullif(s.entry -> 'statements', 'null')) = 1
                then encode(sha256(convert_to(s.entry -> 'statements' ->> 0, 'UTF8')), 'hex')
        end
        from (values {ours}) as m (version, name)
        inner join (
            select to_jsonb(h) as entry from supabase_migrations.schema_migrations as h
        ) as s on s.entry ->> 'version' = m.version and s.entry ->> 'name' = m.name
        on conflict (version) do nothing;
    end if;
end
$hybridflow$;
"""

_COUNT_OLD = """\
select count(*) from supabase_migrations.schema_migrations as h
inner join (values {retired}) as o (version, name)
    on o.version = h.version and o.name = to_jsonb(h) ->> 'name'
"""

_TELL_SUPABASE = """\
do $hybridflow$
declare
    v_retired text[];
    v_ours text[];
begin
    if pg_catalog.to_regclass('supabase_migrations.schema_migrations') is null then
        return;
    end if;
    select array_agg(o.version), array_agg(m.version) into v_retired, v_ours
    from supabase_migrations.schema_migrations as h
    left join (values {retired}) as o (version, name)
        on o.version = h.version and o.name = to_jsonb(h) ->> 'name'
    left join (values {ours}) as m (version, name)
        on m.version = h.version and m.name = to_jsonb(h) ->> 'name';
    if coalesce(array_to_string(v_retired || v_ours, ''), '') <> '' then
        delete from supabase_migrations.schema_migrations where version = any(v_retired);
        insert into supabase_migrations.schema_migrations (version, name)
        select version, name from hybridflow.migrations
        on conflict (version) do nothing;
    end if;
end
$hybridflow$;
"""


def adopt(ours: Iterable[tuple[str, str]]) -> str:
    """Return SQL that copies the entries of `ours` (version, name) of the CLI or of 0.1.0."""
    return _ADOPT.format(ours=_values(ours))


def tell_supabase(ours: Iterable[tuple[str, str]]) -> str:
    """Return SQL that tells the supabase CLI what was applied, if the CLI has entries of ours.

    The current entries replace those of 0.1.0. A program of 0.1.0 still sees that the database is
    newer than itself.
    """
    return _TELL_SUPABASE.format(ours=_values(ours), retired=_values(_entries_of_0_1_0()))


def of_0_1_0() -> str:
    """Return SQL that counts the entries of 0.1.0 in the CLI's history, which must exist."""
    return _COUNT_OLD.format(retired=_values(_entries_of_0_1_0()))


def checksum(text: str) -> str:
    """Return a file's checksum."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_lock(file: Path) -> dict[str, str]:
    """Return the checksums of released migrations by file name; empty if there is no lock file.

    The lock file is the output of `sha256sum migrations/*.sql`.
    """
    if not file.exists():
        return {}
    lines = [line.split(maxsplit=1) for line in file.read_text(encoding="utf-8").splitlines()]
    return {Path(name).name: digest for digest, name in lines}


def _entries_of_0_1_0() -> list[tuple[str, str]]:
    pairs = [entry.split() for entry in _OF_0_1_0.replace("\n", " ").split(",")]
    return [(f"20261123{time}", name) for time, name in pairs]


def _values(entries: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"('{version}', '{name}')" for version, name in entries)
