"""What the bodies of the SQL functions read of their JSON argument, and insist on. Pure.

`keys_read` follows an argument through the body (`p ->> 'x'`, `p -> 'x'`, `p ? 'x'`, `p #>> '{x}'`,
…), under other names (`v_named jsonb := p || …;`), and into the inner functions that it is handed
to, whole, in part, or without some keys. What a caller sets itself on the way (`p ||
jsonb_build_object('part', …)`) is not read of it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from tests.sql_headers import (
    HeaderNotUnderstood,
    Shape,
    end_of_bracket,
    functions,
    split,
)

Keys = tuple[str, ...]  # a place in JSON: ("turns", "token") is the token of each of the turns

_READS = re.compile(r"\s*(->>|->|\?\||\?&|\?|#>>|#>)\s*('[^']*'|array\[[^\]]*\])?")
_CALL = re.compile(r"\b(?:hybridflow|public)\.(\w+)\(")
_CHECK = re.compile(
    r"(?:if ([^;]*?) then\s+)?"
    r"perform hybridflow\.require_keys\(\s*'(\w+)',\s*p,\s*'\{([^}]*)\}'\s*\)"
)
_RECORDS = re.compile(r"\bjsonb_to_recordset\(")
_ASSIGNMENT = re.compile(r"\b(\w+)(?: jsonb)? := ((?:[^;']|'(?:[^']|'')*')*);")


@cache
def keys_read(name: str, argument: str = "p") -> frozenset[Keys]:
    """Return the places in a JSON argument that a function reads, itself or by inner ones."""
    return frozenset(_Reading(name, argument, frozenset()).places())


@cache
def keys_checked(name: str) -> Shape:
    """Return what the body refuses to do without, by name: its first call of require_keys.

    Where a busy path asks for that only if something is missing, the question before it must be
    about the same keys.
    """
    required: set[str] = set()
    nullable: set[str] = set()
    alternatives: list[frozenset[str]] = []
    check = _CHECK.search(functions()[name].body)
    if check is None:
        return Shape()
    if check[2] != name:
        raise HeaderNotUnderstood(f"{name}: require_keys is told that it is {check[2]}")
    for key in re.split(r",\s*", check[3]):
        if "|" in key:
            alternatives.append(frozenset(key.split("|")))
        else:
            required.add(key.removesuffix(" or null"))
            if key.endswith(" or null"):
                nullable.add(key.removesuffix(" or null"))
    found = Shape(
        frozenset(required), alternatives=tuple(alternatives), nullable=frozenset(nullable)
    )
    if check[1] and frozenset(re.findall(r"\bp ->>? '(\w+)'", check[1])) != found.keys:
        raise HeaderNotUnderstood(f"{name}: what stands before require_keys asks for other keys")
    return found


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the argument: where it is, and the keys that were taken out or set again."""

    place: Keys = ()
    hidden: frozenset[str] = frozenset()

    def at(self, key: str) -> "_Part":
        return _Part((*self.place, key))

    def without(self, keys: frozenset[str]) -> "_Part":
        return _Part(self.place, self.hidden | keys)

    def seen(self, inside: set[Keys]) -> set[Keys]:
        """Return the places that are read of the argument where these are read of the part."""
        return {self.place + each for each in inside if each[0] not in self.hidden}


_Known = Mapping[str, _Part]


@dataclass(frozen=True, slots=True)
class _Reading:
    """One argument of a function, followed through its body and what that hands it on to."""

    name: str
    argument: str
    callers: frozenset[tuple[str, str]]

    def places(self) -> set[Keys]:
        if (self.name, self.argument) in self.callers:
            return set()  # it calls itself
        known = self._names()
        found = self._handed_on(known) | self._records(known)
        for alias, part in known.items():
            found |= part.seen({(key,) for key in self._read_as(alias)})
        return {place for place in found if place}

    @property
    def _body(self) -> str:
        return functions()[self.name].body

    def _names(self) -> _Known:
        """Return the names under which the body has the argument, or parts of it."""
        known = {self.argument: _Part()}
        assignments = _ASSIGNMENT.findall(self._body)
        for _ in assignments:
            for target, value in assignments:
                if target not in known and (part := _part(value, known)):
                    known[target] = part
        return known

    def _read_as(self, alias: str) -> Iterator[str]:
        for use in re.finditer(rf"(?<![\w.]){alias}\b", self._body):
            if (read := _READS.match(self._body, use.end())) and read[2]:
                yield from _keys_of(read[1], read[2])

    def _handed_on(self, known: _Known) -> set[Keys]:
        found: set[Keys] = set()
        for callee, given in _calls(self._body):
            inner = functions().get(callee)
            if inner is None or callee == "require_keys":
                continue
            for (parameter, kind), value in zip(inner.arguments.items(), given, strict=False):
                if kind == "jsonb" and (part := _part(value, known)):
                    callers = self.callers | {(self.name, self.argument)}
                    found |= part.seen(_Reading(callee, parameter, callers).places())
        return found

    def _records(self, known: _Known) -> set[Keys]:
        found: set[Keys] = set()
        for records in _RECORDS.finditer(self._body):
            end = end_of_bracket(self.name, self._body, records.end() - 1)
            part = _part(self._body[records.end() : end - 1], known)
            columns = re.match(r" as \w+ \(([^)]*)\)", self._body[end:])
            if part and columns:
                found |= part.seen({(each.split()[0],) for each in columns[1].split(", ")})
        return found


def _part(expression: str, known: _Known) -> _Part | None:
    """Return which part of a known value an expression is; None: it is something else."""
    text = expression.strip()
    if call := _CALL.match(text):
        return _given_back(call[1], text, call.end() - 1, known)
    name = re.match(r"\w+", text)
    if name is None or name[0] not in known:
        return None
    part, rest = known[name[0]], text[name.end() :].strip()
    while rest:
        step = _step(part, rest)
        if step is None:
            return None
        part, rest = step[0], step[1].strip()
    return part


def _given_back(callee: str, text: str, bracket: int, known: _Known) -> _Part | None:
    """Return which part a call gives back: that of a function that returns its own argument."""
    inner, end = functions().get(callee), end_of_bracket(callee, text, bracket)
    if inner is None or end != len(text):
        return None
    for parameter, given in zip(inner.arguments, split(text[bracket + 1 : end - 1]), strict=False):
        back = re.search(rf"\breturn ({parameter}\b[^;]*);", inner.body)
        if back and (part := _part(given, known)):
            return _part(back[1], {parameter: part})
    return None


def _step(part: _Part, rest: str) -> tuple[_Part, str] | None:
    """Return the part behind one operator, and what of the expression comes after that."""
    if step := re.match(r"-> '(\w+)'", rest):
        return part.at(step[1]), rest[step.end() :]
    if rest.startswith("-> ("):  # one of a list
        return part, rest[end_of_bracket("", rest, 3) :]
    if rest.startswith("|| jsonb_build_object("):
        begin = rest.index("(")
        end = end_of_bracket("", rest, begin)
        keys = split(rest[begin + 1 : end - 1])[::2]
        return part.without(frozenset(key.strip("'") for key in keys)), rest[end:]
    if step := re.match(r"- '(\w+)'|- '\{([\w,]*)\}'::text\[\]", rest):
        return part.without(frozenset((step[1] or step[2]).split(","))), rest[step.end() :]
    if step := re.match(r"\|\| (?:'\{([^']*)\}'|\w+)", rest):
        return part.without(frozenset(re.findall(r'"(\w+)":', step[1] or ""))), rest[step.end() :]
    return None


def _keys_of(operator: str, text: str) -> list[str]:
    """Return the keys that an operator of JSON is given."""
    if text.startswith("array["):
        return [each.strip("' ") for each in text[6:-1].split(",")]
    if operator.startswith("#"):
        return [text.strip("'{}").split(",")[0]]
    return [text.strip("'")]


def _calls(body: str) -> Iterator[tuple[str, list[str]]]:
    for call in _CALL.finditer(body):
        end = end_of_bracket(call[1], body, call.end() - 1)
        yield call[1], split(body[call.end() : end - 1])
