"""`/<table>`: PostgREST's plain reading and writing, without embedding; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from loopback.supabase.answers import Refused
from loopback.supabase.functions import quoted

_RESERVED = ("select", "order", "limit", "offset", "columns", "on_conflict")
_OPERATORS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_CONSTANTS = ("null", "true", "false", "unknown")


@dataclass(frozen=True, slots=True)
class TableRequest:
    """A request for one table. `returning`: whether the written rows are returned."""

    schema: str
    table: str
    query: Sequence[tuple[str, str]]
    returning: bool = False

    def reading(self) -> str:
        """Return the statement for GET; its answer is a JSON array as text."""
        rows = f"select {self._columns()} from {self._name}{self._where()}{self._order()}"
        for word in ("limit", "offset"):
            if (count := self._told(word)) is not None:
                rows += f" {word} {int(count)}"
        return f"select coalesce(json_agg(r), '[]')::text from ({rows}) as r"

    def inserting(self, columns: Sequence[str]) -> str:
        """Return the statement for POST; $1 is the rows as a JSON array."""
        names = ", ".join(quoted(column) for column in columns)
        return self._written(
            f"insert into {self._name} ({names})"
            f" select {names} from json_populate_recordset(null::{self._name}, $1::json)"
        )

    def updating(self, columns: Sequence[str]) -> str:
        """Return the statement for PATCH; $1 is a JSON object."""
        changes = ", ".join(f"{quoted(column)} = b.{quoted(column)}" for column in columns)
        return self._written(
            f"update {self._name} set {changes}"
            f" from json_populate_record(null::{self._name}, $1::json) as b{self._where()}"
        )

    def deleting(self) -> str:
        """Return the statement for DELETE."""
        return self._written(f"delete from {self._name}{self._where()}")

    @property
    def _name(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.table)}"

    def _written(self, statement: str) -> str:
        # Only requested columns are read: reading a column needs a grant of its own.
        what = f"{self._name}.*" if self.returning else "1 as written"
        return (
            f"with w as ({statement} returning {what})"
            " select coalesce(json_agg(w), '[]')::text from w"
        )

    def _told(self, word: str) -> str | None:
        return next((value for name, value in self.query if name == word), None)

    def _columns(self) -> str:
        wanted = self._told("select") or "*"
        if set(wanted) & set("(:"):
            raise Refused(400, "PGRST100", f"this loopback PostgREST does not embed: {wanted}")
        return ", ".join("*" if name == "*" else quoted(name) for name in wanted.split(","))

    def _order(self) -> str:
        terms = [term.split(".") for term in (self._told("order") or "").split(",") if term]
        keys = [f"{quoted(name)} {'desc' if 'desc' in how else 'asc'}" for name, *how in terms]
        return f" order by {', '.join(keys)}" if keys else ""

    def _where(self) -> str:
        filters = [self._filter(name, value) for name, value in self.query if name not in _RESERVED]
        return f" where {' and '.join(filters)}" if filters else ""

    def _filter(self, column: str, told: str) -> str:
        operator, _, value = told.partition(".")
        if operator == "not":
            return f"not ({self._filter(column, value)})"
        name = f"{self._name}.{quoted(column)}"
        if operator in _OPERATORS:
            return f"{name} {_OPERATORS[operator]} {_literal(value)}"
        if operator == "is" and value in _CONSTANTS:
            return f"{name} is {value}"
        if operator == "in" and value.startswith("(") and value.endswith(")"):
            values = ", ".join(_literal(item.strip('"')) for item in value[1:-1].split(","))
            return f"{name} in ({values})"
        raise Refused(400, "PGRST100", f"failed to parse filter ({told})")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
