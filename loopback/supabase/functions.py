"""`/rpc/<function>`: finds the function of a request, and makes the statement that calls it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from loopback.supabase.answers import Refused

FUNCTIONS = """
    select n.nspname as schema, p.proname as name, p.provolatile <> 'v' as reads_only,
        p.pronargdefaults as defaults, p.proretset as many,
        p.prorettype = 'void'::regtype as silent,
        coalesce(p.proargnames[1:p.pronargs], '{}') as names,
        array(
            select pg_catalog.format_type(t.type, null)
            from unnest(p.proargtypes) with ordinality as t (type, n) order by t.n
        ) as types
    from pg_catalog.pg_proc as p
    join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
    where n.nspname = any($1) and p.prokind = 'f'
        and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
"""


@dataclass(frozen=True, slots=True)
class Function:
    """One function of an exposed schema, as in the schema cache."""

    schema: str
    name: str
    arguments: Mapping[str, str]
    required: frozenset[str]
    reads_only: bool
    many: bool
    silent: bool

    def takes(self, given: Collection[str]) -> bool:
        """Whether it can be called with arguments of these names."""
        names = set(given)
        return self.required <= names <= set(self.arguments)

    def statement(self, given: Collection[str]) -> str:
        """Return the statement that calls it with the JSON object $1, and returns JSON as text."""
        call = f"{quoted(self.schema)}.{quoted(self.name)}"
        values = ", ".join(f"{quoted(name)} => b.{quoted(name)}" for name in given)
        columns = ", ".join(f"{quoted(name)} {self.arguments[name]}" for name in given)
        body = f"json_to_record($1::json) as b({columns})" if given else "(select $1::json) as b"
        if self.many:
            return (
                f"select coalesce(json_agg(r), '[]')::text from {body}, lateral {call}({values}) r"
            )
        return f"select coalesce(to_json({call}({values}))::text, 'null') from {body}"


def read_function(row: Mapping[str, object]) -> Function:
    """Return one row of FUNCTIONS."""
    names, types = row["names"], row["types"]
    assert isinstance(names, list) and isinstance(types, list)  # noqa: S101, PT018
    defaults = int(str(row["defaults"]))
    return Function(
        schema=str(row["schema"]),
        name=str(row["name"]),
        arguments=dict(zip(names, types, strict=False)),
        required=frozenset(names[: len(names) - defaults]),
        reads_only=bool(row["reads_only"]),
        many=bool(row["many"]),
        silent=bool(row["silent"]),
    )


def find_function(
    known: Collection[Function], schema: str, name: str, given: Collection[str]
) -> Function:
    """Return the one function that matches. Raises Refused for none and for several."""
    fitting = [f for f in known if (f.schema, f.name) == (schema, name) and f.takes(given)]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(given)
    if fitting:
        raise Refused(
            300,
            "PGRST203",
            f"Could not choose the best candidate function between: {schema}.{name}",
            hint="Try renaming the parameters or the function itself in the database",
        )
    raise Refused(
        404,
        "PGRST202",
        f"Could not find the function {schema}.{name}({listed}) in the schema cache",
        details=f"Searched for the function {schema}.{name} with parameters {listed}, but no"
        " matches were found in the schema cache.",
    )


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
