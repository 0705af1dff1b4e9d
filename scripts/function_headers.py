"""Reads the functions' signatures in the living source, to drop functions with another one. Pure.

`create or replace function` refuses to change the return type or an argument's name, or to remove a
default. If an argument's type differs, it creates a second function beside the first.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_BEGINNING = re.compile(r"^create or replace function hybridflow\.(\w+)\(", re.MULTILINE)
_RETURNS = re.compile(r"\s*returns (setof )?(.*?)\s+(?=language\b)", re.DOTALL)
_MODES = {"out": "o", "inout": "b"}

GIVE_WAY = """\
-- Drops functions that are gone or have another signature, and our triggers and policies that use
-- them, which are made again below. Everything in the schema hybridflow belongs to HybridFlow.
do $hybridflow$
declare
    v_old record;
    v_user record;
begin
    for v_old in
        select p.oid, format(
            '%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)
        ) as signature
        from pg_catalog.pg_proc as p
        inner join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
        where n.nspname = 'hybridflow' and p.prokind = 'f' and not exists (
            select from (values
{rows}
            ) as f (name, modes, names, types, defaults, is_set, result)
            where f.name = p.proname
                and f.modes = coalesce(array_to_string(p.proargmodes, ''), repeat('i', p.pronargs))
                and f.names = coalesce(p.proargnames, '{{}}')
                and array(
                    select pg_catalog.to_regtype(t.name)::oid
                    from unnest(f.types) with ordinality as t (name, place)
                    order by t.place
                ) = array(
                    select t.type from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]))
                        with ordinality as t (type, place)
                    order by t.place
                )
                and f.defaults >= p.pronargdefaults
                and f.is_set = p.proretset
                and coalesce(pg_catalog.to_regtype(f.result), p.prorettype) = p.prorettype
        )
    loop
        for v_user in
            select
                format('drop trigger %I on %s', t.tgname, t.tgrelid::pg_catalog.regclass)
                    as dropping
            from pg_catalog.pg_trigger as t
            where t.tgfoid = v_old.oid and not t.tgisinternal
                and t.tgrelid in (
                    select c.oid from pg_catalog.pg_class as c
                    where c.relnamespace = 'public'::pg_catalog.regnamespace
                        and c.relname = any({tables})
                )
            union all
            select format('drop policy %I on %s', p.polname, p.polrelid::pg_catalog.regclass)
            from pg_catalog.pg_policy as p
            inner join pg_catalog.pg_depend as d
                on d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass and d.objid = p.oid
                and d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                and d.refobjid = v_old.oid
            where p.polname = 'members_read'
        loop
            execute v_user.dropping;
        end loop;
        execute 'drop function ' || v_old.signature;
    end loop;
end
$hybridflow$;
"""


class HeaderNotUnderstood(Exception):
    """A function's header cannot be read here. The text says which function."""


@dataclass(frozen=True, slots=True)
class Header:
    """A function's signature, as in PostgreSQL's catalogue.

    `result` None: it follows from the arguments.
    """

    name: str
    modes: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    defaults: int
    is_set: bool
    result: str | None

    def row(self) -> str:
        """Return the signature as a row of VALUES."""
        result = "null" if self.result is None else f"'{self.result}'"
        return (
            f"('{self.name}', '{self.modes}', {_array(self.names)}, {_array(self.types)},"
            f" {self.defaults}, {str(self.is_set).lower()}, {result})"
        )


def headers_in(source: str) -> tuple[Header, ...]:
    """Return the signatures of all functions of the schema hybridflow, in their order."""
    return tuple(_header(found[1], source, found.end()) for found in _BEGINNING.finditer(source))


def give_way(source: str) -> str:
    """Return SQL that drops the functions whose signatures are not in `source`."""
    tables = re.findall(r"^create table if not exists public\.(\w+) ", source, re.MULTILINE)
    rows = [f"                {header.row()}" for header in headers_in(source)]
    if not rows:
        return ""
    return GIVE_WAY.format(rows=",\n".join(rows), tables=_array(tables))


def _header(name: str, source: str, begin: int) -> Header:
    end = _end_of_brackets(source, begin)
    modes, names, types, defaults = "", [], [], 0
    for argument in _split(source[begin:end]):
        words = argument.split(maxsplit=1)
        mode = _MODES.get(words[0], "i")
        if mode != "i":
            words = words[1].split(maxsplit=1)
        if len(words) != 2:
            raise HeaderNotUnderstood(f"hybridflow.{name}: give its argument {argument} a name")
        kind, *default = re.split(r"\s+default\s+", words[1], maxsplit=1)
        modes, defaults = modes + mode, defaults + len(default)
        names.append(words[0])
        types.append(kind)
    returns = _RETURNS.match(source, end + 1)
    if returns is None:  # it returns its `out` arguments
        return Header(name, modes, tuple(names), tuple(types), defaults, is_set=False, result=None)
    result = " ".join(returns[2].split())
    if not result.startswith("table ("):
        is_set = returns[1] is not None
        return Header(name, modes, tuple(names), tuple(types), defaults, is_set, result)
    for column in _split(result.removeprefix("table (").removesuffix(")")):
        column_name, kind = column.split(maxsplit=1)
        modes += "t"
        names.append(column_name)
        types.append(kind)
    return Header(name, modes, tuple(names), tuple(types), defaults, is_set=True, result=None)


def _end_of_brackets(source: str, begin: int) -> int:
    depth = 1
    for place in range(begin, len(source)):
        depth += {"(": 1, ")": -1}.get(source[place], 0)
        if depth == 0:
            return place
    raise HeaderNotUnderstood(f"a bracket has no end: {source[begin : begin + 80]}")


def _split(arguments: str) -> Iterator[str]:
    for argument in arguments.split(","):
        if words := " ".join(argument.split()):
            yield words


def _array(texts: Iterable[str]) -> str:
    inside = ", ".join(f"'{text}'" for text in texts)
    return f"array[{inside}]::text[]"
