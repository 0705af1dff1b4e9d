"""Finds what makes the JSON of a node invalid: n8n says only that it is invalid."""

import re
from collections.abc import Iterator

from scripts.n8n.faults import CheckedWorkflow, Fault, Rule

_FIELDS = ("jsonOutput", "jsonBody", "responseBody")
_QUOTED = re.compile(r'"[^"{}\n]*\{\{(?P<expression>.*?)\}\}', re.DOTALL)
_IS_WRITTEN_AS_JSON = re.compile(r"JSON\.stringify|toJsonString")
_WHOLE = re.compile(r"=\s*\{\{(?P<expression>.*)\}\}\s*", re.DOTALL)


def _json_stands(workflow: CheckedWorkflow) -> Iterator[Fault]:
    for node in workflow.content["nodes"]:
        for name in _FIELDS:
            written = node["parameters"].get(name)
            if not isinstance(written, str) or not written.startswith("="):
                continue
            if _ends_too_soon(written):
                yield workflow.fault(
                    node["name"],
                    f"the expression of {name} ends at its first two closing braces, in the middle"
                    " of what is written. Put a space between them: } }.",
                )
            elif _stands_in_quotes(written):
                yield workflow.fault(
                    node["name"],
                    f"in {name} an expression stands between quotes: a quote or a line break of a"
                    ' customer breaks it. Write an object: {{ { "text": $json.output } }}.',
                )


def _ends_too_soon(written: str) -> bool:
    """Whether two closing braces inside an expression end it: for n8n, the first two do."""
    whole = _WHOLE.fullmatch(written)
    if whole is None or "}}" not in (inner := whole["expression"].rstrip()):
        return False
    return "{{" not in inner.partition("}}")[2]


def _stands_in_quotes(written: str) -> bool:
    if _WHOLE.fullmatch(written) and written.count("{{") == 1:
        return False
    found = _QUOTED.finditer(written)
    return any(not _IS_WRITTEN_AS_JSON.search(each["expression"]) for each in found)


JSON_RULES: tuple[Rule, ...] = (_json_stands,)
