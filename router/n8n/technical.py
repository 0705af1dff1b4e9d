"""Recognises technical error texts, which no customer may read. Pure.

A flow that goes wrong may still answer 200: an agent at its iteration limit uses its success
output, a failed expression stays unevaluated, a proxy answers with a page. Known forms are refused.
A model's own sentence about such things is not refused, and neither is a text that only looks
similar: a film (Terror: …), a room (101 - "…"), the name of an HTML tag.
"""

import re

_LONGEST_LOOKED_AT = 20_000  # characters; technical texts are recognised by their beginning

_WHOLE = re.compile(
    r"(?:(?-i:undefined|null|NULL|NaN)|\[object \w+\]|\[null\]|\[undefined\]"
    r"|error in workflow\.?|internal server error|bad gateway|service unavailable|gateway time-?out"
    r"|no prompt specified|error code: \d{3,4}|request timed out\.?|<no value>"
    r"|(?:error:?|status code) [45]\d\d\.?"
    r"|(?:http[ /]{1,2})?[45]\d\d[ :,-]{1,3}(?:bad request|unauthorized|forbidden|not found"
    r"|method not allowed|too many requests|internal server error|bad gateway"
    r"|service unavailable|gateway time-?out)\.?)",
    re.IGNORECASE,
)
# Words of technical errors that occur in no sentence for a customer.
_WORD_OF_MACHINES = (
    r"(?:\{\s*\"|\bE(?:CONN|TIMEDOUT|NOTFOUND|AI_AGAIN|PIPE|HOST|NET|PROTO)[A-Z_]*\b"
    r"|\bstatus ?code\b|\brequest (?:failed|timed out)\b|\btime(?:d )?-?out\b"
    r"|\btoo many requests\b"
    r"|\brate.?limit|\bbad (?:gateway|request)\b|\bgateway time-?out\b|\bservice unavailable\b"
    r"|\binternal server error\b|\bunauthori[sz]ed\b|\bforbidden\b|\bnot found\b|\boverloaded\b"
    r"|\bjson\b|\bapi\b|\bhttps?\b|\bundefined\b|\bnull\b|\bsocket\b|\bfetch\b|\bgetaddrinfo\b"
    r"|\bconnect(?:ion)? (?:refused|reset|error|closed|aborted)\b|\bcredentials?\b|\bquota\b"
    r"|\bworkflow\b|\bnode\b|\bunexpected (?:token|end)\b|\bcannot read\b|\bexception\b"
    r"|\bis not (?:a function|defined|iterable)\b|\binvalid (?:input|syntax|response|request)\b)"
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
        ("an expression that was not worked out", r"\{\{\s*\$(?:json|node|input|\()"),
        (
            "an error",
            (
                r"(?-i:(?:[A-Za-z_]\w{0,60}\.){0,6}[A-Z]\w{0,80}(?:Error|Exception))"
                r"(?: \[\w+\])?: ?\S"
            ),
        ),
        (
            "an error",
            r"(?:uncaught|unhandled) (?:\(in promise\)|\w{0,80}(?:error|exception|rejection)\b)",
        ),
        ("an error", rf"(?:error|exception)(?: \[\w+\])?: [^\n]{{0,200}}?{_WORD_OF_MACHINES}"),
        ("an error", rf"error \d{{3}}\b[ :,.(-]{{1,4}}{_WORD_OF_MACHINES}"),
        ("an error", r"request failed with status code \d{3}\b"),
        ("an error", r"[45]\d\d status code\b"),
        ("an error", rf"[45]\d\d - [\"']?{_WORD_OF_MACHINES}"),
        ("an error", r"[45]\d\d - [\"']?\{"),
        ("an error", r"\d{3} \{\"(?:type|error)\""),
    )
)
_WITHIN: tuple[tuple[str, re.Pattern[str]], ...] = (
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
    (
        "a value that was not worked out",
        re.compile(r"\[object Object\]|\[Object: null prototype\]|\[(?:invalid|undefined) \("),
    ),
)


# Texts of which such matches are half or more.
_MOSTLY: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a page of HTML", re.compile(r"</?[a-zA-Z][^<>\n]{0,200}>")),
    (
        "an expression that was not worked out",
        re.compile(r"\{\{\s*\$(?:json|node|input|\()[^{}]{0,200}\}\}"),
    ),
)


def why_technical(text: str) -> str | None:
    """Return why no customer may read a text, or None if it may be for people."""
    seen = text[:_LONGEST_LOOKED_AT].strip().strip("`'\"* \n").removeprefix("json").strip()
    if _WHOLE.fullmatch(seen):
        return "a value that was not worked out"
    for name, pattern in _BEGINS:
        if pattern.match(seen):
            return name
    for name, pattern in _WITHIN:
        if pattern.search(text, 0, _LONGEST_LOOKED_AT):
            return name
    for name, pattern in _MOSTLY:
        found = sum(len(each[0]) for each in pattern.finditer(seen))
        if found and found * 2 >= len(seen):
            return name
    return None
