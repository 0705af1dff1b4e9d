"""What of a flow's answer is honest and is said, and what only looks like an answer."""

import json
from typing import Any

import pytest

from router.llm.errors import LlmEmpty, LlmError, LlmFailed
from router.n8n.answered_messages import Conversation
from router.n8n.reply import Answered, Begun, read_answer
from router.n8n.technical import why_technical

ABOUT = Conversation("5511955550001@s.whatsapp.net", {"3A01": False})
NAMED = {"execution_id": "4711"}
THOUGHT = "<think>our margin is 60%</think>"


def read(answer: object) -> Answered:
    found = read_answer(json.dumps(answer).encode(), ABOUT)
    assert isinstance(found, Answered)
    return found


def refused(answer: object) -> str:
    with pytest.raises(LlmError) as raised:
        read_answer(json.dumps(answer).encode(), ABOUT)
    return str(raised.value)


@pytest.mark.parametrize(
    "answer",
    [
        *({**NAMED, name: None} for name in ("text", "messages", "handoff", "silence", "error")),
        *({**NAMED, name: None} for name in ("output", "response", "result", "body", "data")),
        {**NAMED, "content": None},
        {**NAMED, "text": None, "silence": None, "usage": {"tokens_in": 7}},
        [{"json": {**NAMED, "text": None}}],
        {**NAMED, "output": {"text": None}},
        {"text": json.dumps(NAMED)},
        {"output": json.dumps(NAMED)},
        {"text": NAMED},
        {"content": [{"type": "text", "text": json.dumps(NAMED)}]},
    ],
)
def test_an_answer_that_says_nothing_has_not_begun(answer: Any):
    """Else the turn would wait for a lease of a flow that never sends."""
    refused(answer)


def test_one_that_names_its_execution_alone_has_begun():
    for answer in (NAMED, [NAMED], {"body": NAMED}, {**NAMED, "note": None}):
        assert isinstance(read_answer(json.dumps(answer).encode(), ABOUT), Begun)


def cut_off(text: str) -> list[Any]:
    return [
        {"content": [{"type": "text", "text": text}], "stop_reason": "max_tokens"},
        {"choices": [{"message": {"content": text}, "finish_reason": "length"}]},
        {
            "output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}],
            "incomplete_details": {"reason": "max_output_tokens"},
        },
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"text": "Temos bolo de milho. E também bol',
        '```json\n{"text": "Temos bolo de milho. E também bol',
        '```\n{\n  "messages": [{"text": "Temos bolo. E',
        '[{"text": "Temos bolo. E',
        '["Temos bolo. E',
        "```json\n{",
        "{",
        "~~~json",
        f'{THOUGHT}{{"text": "Temos bolo. E',
        f'{THOUGHT}\n```json\n{{"text": "Temos bolo. E',
        "<think>our margin is 60%. We",
    ],
)
def test_json_that_was_cut_off_is_no_reply(text: str):
    for answer in cut_off(text):
        refused(answer)


def test_what_was_whole_when_the_limit_came_is_said():
    for text in ('{"text": "Temos bolo."}', '```json\n{"text": "Temos bolo."}\n```'):
        for answer in cut_off(text):
            assert read(answer).parts == ("Temos bolo.",)
    for text in ("[sim] Temos bolo. E tamb", f"{THOUGHT}[sim] Temos bolo. E tamb"):
        for answer in cut_off(text):
            assert read(answer).parts == ("[sim] Temos bolo.",)


@pytest.mark.parametrize(
    "text",
    [
        f'{THOUGHT}{{"text": "Oi"}}',
        f'{THOUGHT}\n\n```json\n{{"text": "Oi"}}\n```',
        f"{THOUGHT}Oi",
        'our margin</think>{"text": "Oi"}',
    ],
)
def test_thoughts_are_taken_out_before_anything_is_read(text: str):
    for answer in (
        {"text": text},
        {"output": text},
        text,
        {"choices": [{"message": {"content": text}}]},
        {"content": [{"type": "text", "text": text}]},
    ):
        assert read(answer).parts == ("Oi",)


def test_what_is_technical_hides_behind_no_thought():
    for text in (f"{THOUGHT}Error: 429 too many requests", f"{THOUGHT} undefined"):
        refused({"text": text})
        refused({"messages": [{"text": text}]})
        refused({"messages": [{"media": "https://x.example/a.png", "caption": text}]})
        refused({"handoff": {"say": text}})


def test_nothing_but_thoughts_is_an_empty_reply():
    for answer in ({"text": THOUGHT}, {"output": THOUGHT}, {"text": THOUGHT, "usage": {}}):
        with pytest.raises(LlmEmpty):
            read_answer(json.dumps(answer).encode(), ABOUT)


def test_people_of_the_business_read_no_thoughts_either():
    called = {"reason": f"{THOUGHT}Quer um humano", "summary": f"{THOUGHT}Reclama"}
    assert read({"handoff": called}).parts == (
        {"handoff": {"reason": "Quer um humano", "summary": "Reclama"}},
    )
    assert read({"silence": f"{THOUGHT}um emoji"}).silence == "um emoji"
    with pytest.raises(LlmFailed):
        read_answer(json.dumps({"silence": THOUGHT}).encode(), ABOUT)


@pytest.mark.parametrize(
    "text",
    [
        "Terror: O Exorcista, 20h",
        "Terror: 404 noites, 20h",
        "Error 404 no visor significa que a página não existe",
        "Error: 404 no visor significa que falta papel",
        "Error: o endereço está incompleto. Pode mandar de novo?",
        "Exception: feriados, fechado",
        '101 - "Suíte Master"',
        '401 - "Suíte Presidencial"',
        "404 - 'Suíte Luxo'",
        *("None", "True", "False", "none", "true.", "Null"),
        "Cole antes de </head> e salve",
        "Cole o código antes de </body>",
        "Use {{ $json.name }} onde quer que o nome do cliente apareça",
        "Status code 200 quer dizer que deu certo",
    ],
)
def test_an_honest_reply_is_said(text: str):
    assert why_technical(text) is None
    assert read({"text": text}).parts


@pytest.mark.parametrize(
    "text",
    [
        "RateLimitError: 429 status code (no body)",
        "openai.RateLimitError: Error code: 429",
        "Uncaught Error: x is not a function",
        "Uncaught (in promise) TypeError: failed",
        "Unhandled exception: x",
        "JSONDecodeError: Expecting value",
        "Error: 429 too many requests",
        "Error: Request failed with status code 500",
        "Error: read ECONNRESET",
        "Error: timeout of 1000ms exceeded",
        'Error: 401 {"type":"error"}',
        "Error: Cannot read properties of undefined",
        "Exception: invalid JSON",
        "Error 500",
        "Error: 503",
        "Error 502: Bad Gateway",
        '429 - "{\\"error\\": 1}"',
        '500 - {"error": 1}',
        '404 - "Not Found"',
        "{{ $json.output }}",
        "{{ $('Agent').item.json.output }}",
        "Oi {{$json.name}}!",
        "<div><p>502</p></div>",
        "oops</p></body></html>",
        "**TypeError: x is undefined**",
    ],
)
def test_a_machines_trouble_is_not(text: str):
    assert why_technical(text) is not None
