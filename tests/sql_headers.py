"""What the headers of the public SQL functions promise. Pure; what their bodies do: `sql_bodies`.

Each `public.NAME(p jsonb)` in database/schema/*.sql has a comment above it, in one grammar:

    header  := NAME "(" shape ")" prose, with one sentence that begins "Returns " answers
    answers := shape { " or " shape }
    shape   := "{" [ entry { "," entry } ] "}"
    entry   := key [ "?" ] [ ":" value ]    "?": it may be left out, or null
             | key { " | " key }            one of them must be there
             | "<" word ">" ":" value       a map: its keys are data, such as ids
             | "…"                          others, too, which are not listed
    value   := shape | "[" value "]" | words for people, with no comma outside brackets and quotes
             | value " | null"              in an argument: it must be there; null says something

    -- renew_turns({turns: [{turn_id, token}], worker, lease_seconds})
    -- The worker lives, and works on these: their leases last for lease_seconds from now.
    -- Returns {lost: [turn_id]}: those that are closed, or that another attempt has.

In an argument a key without "?" is required: the function raises PT422 without it, and names it.
In an answer such a key is always there (it may be null), one with "?" in some answers only. Where
answers differ in kind there are several shapes, and each answer has one: `Returns {ok} or
{refused: reason}`.

`audit` and `audit_tenants` in an answer are for as_operator, which keeps them to itself: see
FOR_AUDIT. `caller` in an argument is put there by as_operator, for the functions that it calls.

    >>> sorted(headers()["renew_turns"].required)
    ['lease_seconds', 'turns', 'worker']
    >>> sorted(headers()["renew_turns"].argument.nested["turns"].required)
    ['token', 'turn_id']
    >>> sorted(headers()["renew_turns"].answer_keys)
    ['lost']
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "database" / "schema"
FOR_AUDIT = frozenset({"audit", "audit_tenants"})

_FUNCTION = re.compile(
    r"((?:^--[^\n]*\n)*)"
    r"^create or replace function (public|hybridflow)\.(\w+)\((.*?)\)\n"
    r"(?:returns .*?)?^language (\w+)$.*?^as \$\$\n(.*?)^\$\$;",
    re.MULTILINE | re.DOTALL,
)
_ARGUMENT = re.compile(r"(?:^|,)\s*(?:out |inout )?(\w+) ([\w.]+(?:\[\])?)")
_RETURNS = re.compile(r"\bReturns \{")
_COMMENT = re.compile(r"('(?:[^']|'')*')|--[^\n]*")


class HeaderNotUnderstood(Exception):
    """A header is not written in the grammar; the text says which, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The keys of an object. `is_open`: it has others, too; `is_map`: its keys are data.

    `nullable` are those of `required` that may be null.
    """

    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    alternatives: tuple[frozenset[str], ...] = ()
    nested: Mapping[str, "Shape"] = field(default_factory=dict)
    is_open: bool = False
    is_map: bool = False
    nullable: frozenset[str] = frozenset()

    @property
    def keys(self) -> frozenset[str]:
        """All keys that it may have."""
        return frozenset(chain(self.required, self.optional, *self.alternatives))

    def misfits(self, given: object, where: str = "") -> list[str]:
        """Return what an object, or each of a list of them, has too little or too much."""
        if isinstance(given, list):
            return [fault for each in given for fault in self.misfits(each, where)]
        if not isinstance(given, Mapping):
            return [] if given is None and where else [f"{where or 'it'} is no object"]
        missing = self.required - given.keys()
        unknown = frozenset() if self.is_open or self.is_map else given.keys() - self.keys
        faults = [f"{where}{key} is missing" for key in sorted(missing)]
        faults += [f"{where}{key} is not named" for key in sorted(unknown)]
        for key, shape in self.nested.items():
            if key in given:
                faults += shape.misfits(given[key], f"{where}{key}.")
        return faults


@dataclass(frozen=True, slots=True)
class Header:
    """What a public function says of itself."""

    name: str
    argument: Shape
    answers: tuple[Shape, ...]
    text: str

    @property
    def required(self) -> frozenset[str]:
        """The keys that the argument must have."""
        return self.argument.required

    @property
    def optional(self) -> frozenset[str]:
        """The keys that may be left out."""
        return self.argument.optional

    @property
    def alternatives(self) -> tuple[frozenset[str], ...]:
        """Sets of keys of each of which one must be there."""
        return self.argument.alternatives

    @property
    def answer_keys(self) -> frozenset[str]:
        """All keys that an answer may have, of whatever kind."""
        return frozenset().union(*(answer.keys for answer in self.answers))

    def misfits(self, answer: object) -> list[str]:
        """Return why an answer is none of those that the header names; nothing: it is one."""
        faults = [shape.misfits(answer) for shape in self.answers]
        return [] if [] in faults else min(faults, key=len)

    @property
    def sure_answer_keys(self) -> frozenset[str]:
        """The keys that every answer has."""
        return frozenset.intersection(*(answer.required for answer in self.answers))


@dataclass(frozen=True, slots=True)
class Function:
    """A function as it is written: `arguments` by name, with their types; comments left out."""

    name: str
    is_public: bool
    comment: str
    arguments: Mapping[str, str]
    body: str


@cache
def functions() -> Mapping[str, Function]:
    """Return all functions of the living source, public and inner ones, by name."""
    found: dict[str, Function] = {}
    for path in sorted(SOURCE.glob("*.sql")):
        for comment, schema, name, arguments, _, body in _FUNCTION.findall(path.read_text()):
            # Should a name ever stand in both schemas, the public function comes first.
            if name in found and found[name].is_public:
                continue
            found[name] = Function(
                name=name,
                is_public=schema == "public",
                comment=comment,
                arguments=dict(_ARGUMENT.findall(arguments)),
                body=_COMMENT.sub(lambda part: part[1] or "", body),
            )
    return found


@cache
def headers() -> Mapping[str, Header]:
    """Return the headers of all public functions, by name. Raises HeaderNotUnderstood."""
    return {each.name: read_header(each.name, each.comment) for each in _public()}


def read_header(name: str, comment: str) -> Header:
    """Read the comment above `public.NAME`. Raises HeaderNotUnderstood."""
    lines = [line.removeprefix("--").strip() for line in comment.splitlines()]
    text = " ".join(" ".join(lines).split())
    if not text.startswith(f"{name}({{"):
        raise HeaderNotUnderstood(f"{name}: its comment must begin with {name}({{…}})")
    begin = len(name) + 1
    end = end_of_bracket(name, text, begin)
    if text[end : end + 1] != ")":
        raise HeaderNotUnderstood(f"{name}: a ) must come behind its keys")
    said = list(_RETURNS.finditer(text, end))
    if len(said) != 1:
        raise HeaderNotUnderstood(f"{name}: one sentence must begin with `Returns {{`")
    answers: list[Shape] = []
    place = said[0].end() - 1
    while True:
        stop = end_of_bracket(name, text, place)
        answers.append(_shape(name, text[place:stop]))
        if not text.startswith(" or {", stop):
            break
        place = stop + len(" or ")
    return Header(name, _shape(name, text[begin:end]), tuple(answers), text[end + 1 :].strip())


def _public() -> Iterator[Function]:
    return (each for each in functions().values() if each.is_public)


def end_of_bracket(name: str, text: str, begin: int) -> int:
    """Return the place behind the bracket that closes the one at `begin`."""
    depth = 0
    quoted = False
    for place in range(begin, len(text)):
        letter = text[place]
        if letter == "'":
            quoted = not quoted
        elif not quoted:
            depth += {"{": 1, "[": 1, "(": 1, "}": -1, "]": -1, ")": -1}.get(letter, 0)
            if depth == 0:
                return place + 1
    raise HeaderNotUnderstood(f"{name}: a bracket has no end: {text[begin : begin + 60]}")


def split(text: str) -> list[str]:
    """Split at the commas that are in no bracket and no quotes."""
    parts, depth, quoted, begin = [], 0, False, 0
    for place, letter in enumerate(text):
        if letter == "'":
            quoted = not quoted
        elif not quoted:
            depth += {"{": 1, "[": 1, "(": 1, "}": -1, "]": -1, ")": -1}.get(letter, 0)
            if letter == "," and depth == 0:
                parts.append(text[begin:place])
                begin = place + 1
    parts.append(text[begin:])
    return [part.strip() for part in parts if part.strip()]


def _shape(name: str, text: str) -> Shape:
    required: set[str] = set()
    optional: set[str] = set()
    alternatives: list[frozenset[str]] = []
    nested: dict[str, Shape] = {}
    nullable: set[str] = set()
    is_open = is_map = False
    for entry in split(text[1:-1]):
        key, _, value = (part.strip() for part in entry.partition(":"))
        if key == "…":
            is_open = True
        elif re.fullmatch(r"<\w+>", key):
            is_map = True
        elif re.fullmatch(r"\w+( \| \w+)+", key):
            alternatives.append(frozenset(key.split(" | ")))
        elif re.fullmatch(r"\w+\??", key):
            plain = key.removesuffix("?")
            (optional if key.endswith("?") else required).add(plain)
            if value.endswith(" | null"):
                nullable.add(plain)
            inside = value.removesuffix(" | null")
            while inside.startswith("[") and inside.endswith("]"):
                inside = inside[1:-1].strip()
            if inside.startswith("{") and end_of_bracket(name, inside, 0) == len(inside):
                nested[plain] = _shape(name, inside)
        else:
            raise HeaderNotUnderstood(f"{name}: `{entry}` is no key, no choice of keys and no map")
    return Shape(
        frozenset(required),
        frozenset(optional),
        tuple(alternatives),
        nested,
        is_open,
        is_map,
        frozenset(nullable - optional),
    )
