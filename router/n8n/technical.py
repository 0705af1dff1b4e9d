"""Texts that tell of a machine's trouble, and that no customer may read. Pure.

A flow that goes wrong may still answer 200: an agent at its iteration limit leaves by its success
output, an expression that failed stands as it was written, a proxy answers with a page. What is
known here is refused; what a model writes about such things in a sentence of its own is not.
"""

import re

_LONGEST_LOOKED_AT = 20_000  # characters; what goes wrong says so at once

_WHOLE = re.compile(
    r"(?:undefined|null|nan|true|false|none|\[object \w+\]|\[null\]|\[undefined\]"
    r"|error in workflow\.?|internal server error|bad gateway|service unavailable|gateway time-?out"
    r"|no prompt specified|error code: \d{3,4}|request timed out\.?|<no value>)",
    re.IGNORECASE,
)
_BEGINS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("an agent's own report", r"agent stopped due to (?:max(?:imum)? iterations|iteration)"),
        ("an agent's own report", r"max(?:imum)? (?:number of )?iterations \(\d+\) reached"),
        ("n8n's own report", r"workflow (?:was started|executed successfully|got started)"),
        (
            "n8n's own report",
            r"there was a problem (?:executing|running|in|with) the (?:workflow|node)",
        ),
        ("n8n's own report", r"problem in node [\u2018'\"]"),
        ("n8n's own report", r"the requested webhook\b"),
        (
            "n8n's own report",
            r"\[?(?:error: )?referenced node (?:is unexecuted|doesn['\u2019]t exist)",
        ),
        ("n8n's own report", r"received tool input did not match expected schema"),
        ("n8n's own report", r"model output doesn['\u2019]t fit required format"),
        ("an expression that was not worked out", r"=\s*\{\{"),
        ("a proxy's report", r"upstream (?:connect error|request timeout)|no healthy upstream"),
        ("a page of HTML", r"<(?:!doctype\b|\?xml\b|html\b|head\b|body\b|!--)"),
        (
            "an error",
            r"(?:uncaught |unhandled )?(?:[a-z_][\w.]*)?(?:error|exception)(?: \[\w+\])?: ?\S",
        ),
        ("an error", r"(?:error|request failed with status code|status code) \d{3}\b"),
        ("an error", r"\d{3} - [\"'{]"),
        ("an error", r"\d{3} \{\"(?:type|error)\""),
    )
)
_WITHIN: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a page of HTML", re.compile(r"</(?:html|head|body|script|style)\s*>", re.IGNORECASE)),
    ("a stack trace", re.compile(r"^[ \t]{1,40}at .{1,300}:\d+:\d+\)?[ \t\r]*$", re.MULTILINE)),
    (
        "a stack trace",
        re.compile(
            r"^[ \t]{1,40}at (?:async )?[\w.<>]{1,200} \((?:node:|file:|/|<anonymous>)",
            re.MULTILINE,
        ),
    ),
    ("a stack trace", re.compile(r"^Traceback \(most recent call last\):", re.MULTILINE)),
    ("a stack trace", re.compile(r"^[ \t]{1,40}File \"[^\"\n]{1,300}\", line \d+", re.MULTILINE)),
    (
        "an error of n8n",
        re.compile(
            r"\b(?:NodeApiError|NodeOperationError|WorkflowOperationError|ExpressionError"
            r"|ApplicationError|UnhandledPromiseRejection|ERR_BAD_RE(?:QUEST|SPONSE))\b"
        ),
    ),
    (
        "an agent's own report",
        re.compile(r"Agent stopped due to (?:max iterations|iteration limit)"),
    ),
    ("an expression that was not worked out", re.compile(r"\{\{\s*\$(?:json|node|input|\()")),
    (
        "a value that was not worked out",
        re.compile(r"\[object Object\]|\[(?:invalid|undefined) \("),
    ),
)


def why_technical(text: str) -> str | None:
    """Return what a text is that no customer may read; None: it may be one for people."""
    seen = text[:_LONGEST_LOOKED_AT].strip().strip("`'\"* \n").removeprefix("json").strip()
    if _WHOLE.fullmatch(seen):
        return "a value that was not worked out"
    for name, pattern in _BEGINS:
        if pattern.match(seen):
            return name
    for name, pattern in _WITHIN:
        if pattern.search(text, 0, _LONGEST_LOOKED_AT):
            return name
    return None
