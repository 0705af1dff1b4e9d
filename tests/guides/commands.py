"""The commands that the guides give their readers, found in the guides themselves."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]

Kind = Literal["shell", "sql", "http", "name"]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_PROGRAM = re.compile(
    r"(?:\.venv/bin/\w+|python3?|pip|uvicorn|make|curl|psql|pg_dump|pg_restore|docker|supabase|npx|npm"
    r"|node|sh|sed|cp|git|ssh|openssl|\$EDITOR) "
)
_ASSIGNMENT = re.compile(r"([A-Z][A-Z0-9_]*)=")
_REQUEST = re.compile(r"(?:GET|POST|PUT|PATCH|DELETE) https?://")
_PROCFILE = re.compile(r"(?:release|web): ")
_DRAWN = re.compile(r"[│▼▲─▶]")
_COMMENT = re.compile(r"(?:^|\s)# .*$")
_DATA = {"json", "ts", "caddyfile", "text"}  # shown, not typed


@dataclass(frozen=True, slots=True)
class Command:
    """One command, as it stands in the guide; a `name` is mentioned in a sentence."""

    guide: str
    kind: Kind
    text: str


class NotUnderstood(AssertionError):
    """A block of a guide is none of what guides may have."""


def guides() -> list[Path]:
    """Every guide of the project."""
    hidden = {".venv", "node_modules"}
    found = [
        file
        for file in ROOT.rglob("*.md")
        if not any(part.startswith(".") or part in hidden for part in file.relative_to(ROOT).parts)
    ]
    return [*sorted(found), ROOT / ".env.example"]


def commands_of(guide: Path) -> list[Command]:
    """Every command of a guide, in its order, each once."""
    name = guide.relative_to(ROOT).as_posix()
    return commands_in(name, guide.read_text(encoding="utf-8"))


def commands_in(name: str, text: str) -> list[Command]:
    """Every command of a guide's text, in its order, each once. Raises NotUnderstood."""
    found = _in_example(text) if name.endswith(".example") else _in_markdown(name, text)
    return list(dict.fromkeys(Command(name, kind, command) for kind, command in found))


def variables_of(guide: Path) -> set[str]:
    """The variables that a guide's blocks set."""
    lines = (
        line.strip()
        for _, language, body in _FENCE.findall(guide.read_text(encoding="utf-8"))
        if language in ("bash", "sh")
        for line in body.splitlines()
    )
    return {found[1] for line in lines if (found := _ASSIGNMENT.match(line))}


def _in_example(text: str) -> Iterator[tuple[Kind, str]]:
    for line in text.splitlines():
        if line.startswith("#     "):
            yield "shell", line.removeprefix("#").strip()
    yield from _named(text)


def _in_markdown(name: str, text: str) -> Iterator[tuple[Kind, str]]:
    place = 0
    for block in _FENCE.finditer(text):
        yield from _named(text[place : block.start()])
        yield from _in_block(name, block[2], _dedented(block[3], len(block[1])))
        place = block.end()
    yield from _named(text[place:])


def _named(prose: str) -> Iterator[tuple[Kind, str]]:
    for span in _SPAN.findall(prose):
        words = " ".join(span.split())
        if _PROGRAM.match(words):
            yield "name", words


def _in_block(name: str, language: str, body: str) -> Iterator[tuple[Kind, str]]:
    if language in _DATA:
        return
    if language == "sql":
        yield from (("sql", statement) for statement in _statements(body))
    elif language in ("bash", "sh"):
        for line in _logical_lines(body):
            if not _ASSIGNMENT.match(line):
                yield "shell", line
    elif language:
        raise NotUnderstood(
            f"{name}: what is a block of {language}? Teach tests/guides/commands.py"
        )
    elif _REQUEST.match(body):
        yield "http", body.strip()
    else:
        yield from _in_plain_block(name, body)


def _in_plain_block(name: str, body: str) -> Iterator[tuple[Kind, str]]:
    if _DRAWN.search(body):
        return
    for line in _logical_lines(body):
        command = _PROCFILE.sub("", line, count=1)
        if not _PROGRAM.match(command):
            raise NotUnderstood(f"{name}: {line!r} stands in a block, but is it a command?")
        yield "shell", command


def _logical_lines(body: str) -> Iterator[str]:
    """What a shell would take as one line, without comments."""
    for line in re.sub(r"\\\n\s*", "", body).splitlines():
        if command := _COMMENT.sub("", line).strip():
            yield command


def _statements(body: str) -> Iterator[str]:
    text = "\n".join(re.sub(r"^--.*$", "", line) for line in body.splitlines())
    yield from (" ".join(each.split()) for each in text.split(";") if each.strip())


def _dedented(body: str, by: int) -> str:
    return "\n".join(line[by:] for line in body.splitlines())
