"""What flows answer: what of it is said, and what no customer ever reads."""

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.llm.errors import (
    LlmAccountRefused,
    LlmAway,
    LlmEmpty,
    LlmError,
    LlmFailed,
    LlmMisconfigured,
    LlmRefused,
)
from router.n8n.answered_messages import Conversation
from router.n8n.reply import Answered, Begun, read_answer, read_failure
from router.n8n.technical import why_technical
from tests.for_each import for_each

ABOUT = Conversation("5511955550001@s.whatsapp.net", {"3A01": False, "3EB0": True})
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and so on").decode()


def read(answer: object) -> Answered:
    found = read_answer(json.dumps(answer).encode(), ABOUT)
    assert isinstance(found, Answered)
    return found


def refused(answer: object, error: type[LlmError] = LlmFailed) -> str:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    with pytest.raises(error) as raised:
        read_answer(body, ABOUT)
    assert type(raised.value) is error
    return str(raised.value)


def test_a_text_is_said():
    assert read({"text": "Temos *bolo*!"}).parts == ("Temos *bolo*!",)


def test_markdown_becomes_whatsapps_marks_and_a_long_text_several_messages():
    assert read({"text": "**sim**"}).parts == ("*sim*",)
    assert len(read({"text": "palavra " * 1000}).parts) == 2


def test_messages_are_said_in_their_order():
    answer = read(
        {"messages": [{"text": "um"}, {"text": "dois"}, {"reaction": "👍", "to": "3A01"}]}
    )
    key = {"id": "3A01", "remoteJid": ABOUT.jid, "fromMe": False}
    assert answer.parts == (
        "um",
        "dois",
        {"path": "message/sendReaction", "body": {"key": key, "reaction": "👍"}},
    )


@pytest.mark.parametrize(
    ("message", "path", "body"),
    [
        (
            {"media": "https://x.example/menu.pdf", "caption": "O **menu**"},
            "message/sendMedia",
            {
                "mediatype": "document",
                "media": "https://x.example/menu.pdf",
                "caption": "O *menu*",
                "fileName": "menu.pdf",
            },
        ),
        (
            {"media": "https://x.example/bolo?id=7", "file_name": "bolo.JPG"},
            "message/sendMedia",
            {"mediatype": "image", "media": "https://x.example/bolo?id=7"},
        ),
        ({"media": PNG}, "message/sendMedia", {"mediatype": "image", "media": PNG}),
        (
            {"media": f"data:image/webp;base64,{PNG}"},
            "message/sendMedia",
            {"mediatype": "image", "media": PNG},
        ),
        ({"audio": PNG}, "message/sendWhatsAppAudio", {"audio": PNG}),
        (
            {"sticker": "https://x.example/s.webp"},
            "message/sendSticker",
            {"sticker": "https://x.example/s.webp"},
        ),
        (
            {
                "location": {
                    "latitude": -23.5,
                    "longitude": "-46.6",
                    "name": "Loja",
                    "address": "Rua A, 1",
                }
            },
            "message/sendLocation",
            {"latitude": -23.5, "longitude": -46.6, "name": "Loja", "address": "Rua A, 1"},
        ),
        (
            {"contact": {"name": "Ana", "phone": "+55 11 95555-0002", "email": None}},
            "message/sendContact",
            {
                "contact": [
                    {"fullName": "Ana", "wuid": "5511955550002", "phoneNumber": "+5511955550002"}
                ]
            },
        ),
    ],
)
def test_each_kind_of_message_is_what_evolution_is_asked(message: Any, path: str, body: Any):
    assert read({"messages": [message]}).parts == ({"path": path, "body": body},)


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"poll": "?"}, "messages[0]: it must be one of text"),
        ({}, "messages[0]: it must be one of text"),
        ({"text": "a", "media": PNG}, "not text, media"),
        ({"text": "a", "delay": 5}, "messages[0].delay"),
        ({"text": 5}, "messages[0].text: it must be a text"),
        ({"text": " "}, "messages[0].text: there is no text"),
        ({"media": "nothing!"}, "messages[0].media: it must be base64"),
        ({"media": "https://x.example/7"}, "messages[0].file_name"),
        ({"media": PNG, "caption": "<html>"}, "messages[0].caption: it is a page of HTML"),
        ({"reaction": "👍"}, "messages[0].to: it is missing"),
        ({"reaction": "👍", "to": "4B"}, "messages[0].to: there is no such message"),
        ({"reaction": "ok", "to": "3A01"}, "messages[0].reaction: it must be an emoji"),
        ({"location": {"latitude": 1, "longitude": 2}}, "messages[0].location.name"),
        (
            {"location": {"latitude": 1, "longitude": 2, "name": "a"}},
            "messages[0].location.address",
        ),
        (
            {"location": {"latitude": 91, "longitude": 2, "name": "a", "address": "b"}},
            "messages[0].location.latitude",
        ),
        ({"contact": {"name": "Ana", "phone": "ana"}}, "messages[0].contact.phone"),
        ({"contact": {"name": "Ana"}}, "messages[0].contact.phone: it is missing"),
        (7, "messages[0]: it must be an object"),
    ],
)
def test_what_is_not_in_the_set_is_refused_by_its_name(message: Any, named: str):
    assert named in refused({"messages": [message, {"text": "b"}]})


def test_there_are_so_many_messages_and_no_more():
    assert "21 are too many" in refused({"messages": [{"text": "a"}] * 21})


def test_what_is_large_is_given_by_its_address():
    large = base64.b64encode(b"x" * 600_000).decode()
    assert read({"messages": [{"audio": large}]}).parts
    assert "by their URL" in refused({"messages": [{"audio": large}, {"audio": large}]})


def test_a_handoff_comes_last_with_its_words():
    answer = read(
        {
            "text": "Um momento",
            "handoff": {"reason": "quer falar", "summary": "s", "say": "Já chamo"},
        }
    )
    assert answer.parts == (
        "Um momento",
        {"handoff": {"reason": "quer falar", "summary": "s"}, "text": "Já chamo"},
    )


def test_a_handoff_is_called_though_the_model_left_its_text_empty():
    (called,) = read({"text": "", "handoff": {"reason": "quer falar"}, "silence": ""}).parts
    assert called == {"handoff": {"reason": "quer falar", "summary": None}}


def test_a_handoff_needs_no_words():
    assert read({"handoff": {}}).parts == (
        {"handoff": {"reason": "the AI asked for a human", "summary": None}},
    )
    (called,) = read({"handoff": {"summary": "é " * 5000}}).parts
    assert len(called["handoff"]["summary"]) <= 2000  # type: ignore[index]


@pytest.mark.parametrize("handoff", ["me", True, {"why": "x"}, {"reason": 7}])
def test_a_handoff_that_is_none_is_refused(handoff: Any):
    assert "handoff" in refused({"handoff": handoff})


def test_silence_says_why():
    answer = read({"silence": "an emoji needs no answer", "usage": {"tokens_in": 4}})
    assert (answer.parts, answer.silence) == ((), "an emoji needs no answer")
    assert answer.cost["tokens_in"] == 4


@pytest.mark.parametrize("silence", ["", " ", True, [], {}, 1])
def test_silence_without_a_word_is_none(silence: Any):
    assert "silence" in refused({"silence": silence})


def test_silence_and_words_are_no_answer():
    assert "silence" in refused({"silence": "why", "text": "oi"})


@for_each(
    "body",
    [
        *(b"", b" \n", b"null", b"{}", b"[]", b"[{}]", b'[{"json": {}}]', b'{"output": null}'),
        *(b'{"text": null}', b'{"messages": []}', b'{"messages": null}', b'{"usage": {}}'),
        *(
            b'""',
            b'" "',
            b'{"output": ""}',
            b'{"output": " "}',
            b'{"text": ""}',
            b'{"silence": null}',
        ),
        *(b'{"content": [], "type": "message"}', b'{"choices": []}', b'{"choices": [{}]}'),
        b'{"choices": [{"message": {"content": null}}]}',
    ],
)
def test_an_empty_answer_is_never_silence(body: bytes):
    with pytest.raises(LlmFailed):
        read_answer(body, ABOUT)


@for_each(
    "answer",
    [
        {"text": "oi"},
        [{"text": "oi"}],
        [{"json": {"text": "oi"}, "pairedItem": {"item": 0}}],
        "oi",
        {"output": "oi"},
        [{"output": "oi", "intermediateSteps": [{"action": {}}]}],
        {"output": {"text": "oi"}},
        {"output": {"output": {"text": "oi"}}},
        {"output": '```json\n{"text": "oi"}\n```'},
        {"output": '{"text": "oi"}'},
        {"text": '{"text": "oi"}'},
        {"text": {"text": "oi"}},
        {"response": {"text": "oi"}},
        {"data": [{"body": {"text": "oi"}}]},
        {"body": '{"messages": [{"text": "oi"}]}'},
        '```\n{"text": "oi"}\n```',
        {"output": 'Here is the answer:\n\n```json\n{"text": "oi"}\n```'},
        {"output": '```json\n{"text": "oi"}\n```\nI hope this helps!'},
        {"output": 'Sure! {"text": "oi", "silence": ""}'},
        {"text": '{"text": "oi"} Anything else?'},
        {"text": "oi", "handoff": None, "silence": "", "messages": []},
        {"text": " ", "messages": [{"text": "oi", "media": "", "caption": ""}], "handoff": False},
        {"text": '{"text": "oi"}', "silence": False},
        {"content": [{"type": "text", "text": "oi"}], "stop_reason": "end_turn", "type": "message"},
        {"content": [{"type": "text", "text": '{"text": "oi"}'}], "id": "msg_1"},
        {"choices": [{"message": {"role": "assistant", "content": "oi"}, "finish_reason": "stop"}]},
        {"index": 0, "message": {"role": "assistant", "content": "oi"}, "finish_reason": "stop"},
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": "oi"}]}]},
        [{"output": [{"type": "message", "content": [{"type": "output_text", "text": "oi"}]}]}],
    ],
)
def test_known_wrappings_are_taken_off(answer: Any):
    assert read(answer).parts == ("oi",)


def test_a_fenced_answer_of_a_model_is_read_without_quotes_around_it():
    found = read_answer(b'```json\n{"silence": "no need"}\n```', ABOUT)
    assert isinstance(found, Answered)
    assert found.silence == "no need"


def test_items_are_messages_in_their_order():
    assert read([{"text": "um"}, {"json": {"text": "dois"}}]).parts == ("um", "dois")


def test_what_an_llm_says_of_its_cost_is_known():
    of_anthropic = read(
        {
            "model": "claude-x",
            "content": [{"type": "text", "text": "oi"}],
            "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 3},
        }
    )
    wanted = {"provider": "anthropic", "model": "claude-x", "tokens_in": 15, "tokens_out": 3}
    assert of_anthropic.cost == wanted
    of_openai = read(
        {
            "model": "gpt-x",
            "choices": [{"message": {"content": "oi"}}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 3},
        }
    )
    assert of_openai.cost == wanted | {"provider": "openai", "model": "gpt-x", "tokens_in": 10}


@pytest.mark.parametrize(
    "usage", [7, [], "x", {"tokens_in": -1}, {"tokens_in": True}, {"model": 7}]
)
def test_a_cost_that_cannot_be_right_costs_no_reply(usage: Any):
    answer = read({"text": "oi", "usage": usage})
    assert answer.cost == {"provider": None, "model": None}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"content": [{"type": "text", "text": "x"}], "stop_reason": "refusal"}, LlmRefused),
        ({"choices": [{"message": {"content": None, "refusal": "no"}}]}, LlmRefused),
        (
            {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]},
            LlmRefused,
        ),
        ({"content": [{"type": "tool_use", "name": "x"}], "stop_reason": "tool_use"}, LlmFailed),
        ({"content": [{"type": "text", "text": ""}], "stop_reason": "end_turn"}, LlmEmpty),
        ({"text": "  "}, LlmEmpty),
    ],
)
def test_an_llm_that_gives_no_reply_is_known_by_what_it_says(answer: Any, error: Any):
    refused(answer, error)


def test_a_reply_that_ran_into_its_limit_ends_where_a_sentence_does():
    said = "Temos bolo de milho. E também bol"
    answer = read({"content": [{"type": "text", "text": said}], "stop_reason": "max_tokens"})
    assert answer.parts == ("Temos bolo de milho.",)


TECHNICAL = [
    "Agent stopped due to max iterations.",
    "Agent stopped due to iteration limit or time limit.",
    "<html><body><h1>502 Bad Gateway</h1></body></html>",
    "<!DOCTYPE html>\n<html lang=en>",
    "Bad Gateway",
    "502 Bad Gateway",
    "HTTP 503: Service Unavailable",
    "429 Too Many Requests",
    "401 Unauthorized",
    "error code: 1015",
    "upstream connect error or disconnect/reset before headers. reset reason: overflow",
    "undefined",
    "null",
    "[object Object]",
    "[Object: null prototype] { nome: 'Rui' }",
    "Olá [object Object], tudo bem?",
    "Olá {{ $json.name }}, tudo bem?",
    "={{ $json.output }}",
    "Error in workflow",
    "Workflow was started",
    "TypeError: Cannot read properties of undefined (reading 'text')",
    "Error: connect ECONNREFUSED 127.0.0.1:5678",
    "NodeApiError: Bad request - please check your parameters",
    '429 {"type":"error","error":{"type":"rate_limit_error"}}',
    "Request failed with status code 500",
    "Something\n    at Object.execute (/usr/lib/node_modules/n8n/dist/x.js:10:12)\n",
    'Traceback (most recent call last):\n  File "a.py", line 3, in <module>\n',
    "Referenced node doesn\u2019t exist",
    "Received tool input did not match expected schema",
    "Model output doesn't fit required format",
]


@for_each("text", TECHNICAL)
def test_what_is_technical_reaches_no_customer(text: str):
    assert why_technical(text) is not None
    for answer in (
        {"text": text},
        {"output": text},
        text,
        [{"json": {"output": text}}],
        {"messages": [{"text": "oi"}, {"text": text}]},
        {"messages": [{"media": "https://x.example/a.png", "caption": text}]},
        {"messages": [{"contact": {"name": text, "phone": "5511955550001"}}]},
        {"handoff": {"say": text}},
    ):
        with pytest.raises(LlmError):
            read_answer(json.dumps(answer).encode(), ABOUT)


@pytest.mark.parametrize(
    "text",
    [
        "Houve um erro no seu pedido: o endereço está incompleto.",
        "O erro 404 quer dizer que a página não existe.",
        "Error? Não, está tudo certo!",
        "Abrimos às 10:30:00 (rua A:1:2)",
        "Temos 500 opções - escolha uma",
        "Null é um valor vazio.",
        "true or false? É verdade!",
        "Use <b> para negrito",
        "We stopped at 10:20:30",
        "429 reais",
        "{nome}, seu pedido chegou",
        "[sim] ou [não]?",
        "An agent stopped by your house",
        "502 pães, não encontrados",
        "Not found",
        "Quero {um} e [dois]",
        'Escreva {"nome": "Ana"} no campo',
    ],
)
def test_what_people_say_about_such_things_is_said(text: str):
    assert why_technical(text) is None
    assert read({"text": text}).parts


def test_a_page_is_no_answer_whatever_its_status():
    assert "HTML" in refused(b"<!doctype html><html><body>hello</body></html>")
    assert "not JSON" in refused(b"Bolo de milho")


def test_what_is_json_and_none_of_the_contract_is_not_said():
    assert "JSON" in refused({"messages": [{"text": '{"a": 1}'}]})
    assert "JSON" in refused({"text": '{"text": "a"} ou {"text": "b"}'})
    assert "not what the contract asks for" in refused({"output": '{"text": "oi"'})
    assert "tool" in refused({"tool": "x", "args": {}})
    assert "silense" in refused({"silense": "why"})
    assert "mesages" in refused({"text": "oi", "mesages": []})
    assert "text and messages" in refused({"text": "oi", "messages": [{"text": "a"}]})


def test_a_flow_that_only_says_that_it_has_begun_sends_by_itself():
    for body in (
        b'{"execution_id": "4711"}',
        b'{"execution_id": 4711}',
        b'{"message": "Workflow was started"}',
        b'[{"json": {"execution_id": "4711"}}]',
    ):
        assert isinstance(read_answer(body, ABOUT), Begun)


@pytest.mark.parametrize(
    "answer",
    [
        {"text": "oi"},
        {"output": "oi"},
        {"text": '{"text": "oi"}'},
        {"content": [{"type": "text", "text": "oi"}]},
        {"choices": [{"message": {"content": "oi"}}]},
    ],
)
def test_an_answer_may_name_its_execution(answer: dict[str, Any]):
    found = read({**answer, "execution_id": "4711"})
    assert (found.parts, found.execution_id) == (("oi",), "4711")


RATE = '{"type":"error","error":{"type":"rate_limit_error","message":"Number of requests…"}}'


@for_each(
    ("error", "kind"),
    [
        (f"429 {RATE}", LlmAway),
        ({"message": f'429 - "{RATE}"', "name": "AxiosError", "status": 429}, LlmAway),
        (
            {"message": "The service is receiving too many requests from you", "httpCode": "429"},
            LlmAway,
        ),
        ({"message": "Rate limit reached for gpt-x"}, LlmAway),
        ('529 {"type":"error","error":{"type":"overloaded_error"}}', LlmAway),
        (
            {"message": "The service was not able to process your request", "httpCode": "500"},
            LlmAway,
        ),
        ({"message": "connect ECONNREFUSED 127.0.0.1:1", "code": "ECONNREFUSED"}, LlmAway),
        ("Connection error.", LlmAway),
        ("Request timed out.", LlmAway),
        ({"message": "timeout of 300000ms exceeded", "code": "ECONNABORTED"}, LlmAway),
        ('401 {"type":"error","error":{"message":"invalid x-api-key"}}', LlmAccountRefused),
        ({"message": "Authorization failed - please check your credentials"}, LlmAccountRefused),
        ({"message": "Incorrect API key provided: sk-abc", "status": 401}, LlmAccountRefused),
        ({"error": {"message": "model: nope", "type": "not_found_error"}}, LlmMisconfigured),
        ({"message": "You exceeded your current quota", "httpCode": "429"}, LlmAccountRefused),
        ('Node does not have any credentials set for "anthropicApi"', LlmMisconfigured),
        ({"message": "Cannot read properties of undefined (reading 'x')"}, LlmFailed),
        ({"message": "Bad request - please check your parameters", "httpCode": "400"}, LlmFailed),
        ("the builder's mistake", LlmFailed),
        (7, LlmFailed),
        ([[]], LlmFailed),
    ],
)
def test_a_failure_is_known_by_n8ns_own_error(error: Any, kind: type[LlmError]):
    for answer in ({"error": error}, [{"json": {"error": error, "text": None}}]):
        with pytest.raises(LlmError) as raised:
            read_answer(json.dumps(answer).encode(), ABOUT)
        assert type(raised.value) is kind, str(raised.value)
    assert type(read_failure(500, json.dumps({"error": error}).encode())) is kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, b'{"message": "Error in workflow"}', LlmFailed),
        (500, b"", LlmFailed),
        (500, b"<html>", LlmFailed),
        (500, b'{"code": 0, "message": "There was a problem executing the workflow"}', LlmFailed),
        (429, b"", LlmAway),
        (503, b"", LlmAway),
        (422, b'{"error": "the order is not known"}', LlmFailed),
    ],
)
def test_an_error_of_http_is_a_failure_of_its_kind(status: int, body: bytes, kind: type[LlmError]):
    assert type(read_failure(status, body)) is kind


def test_how_long_to_wait_is_told_on():
    error = {"message": f"429 {RATE}", "headers": {"retry-after": "17"}}
    failure = read_failure(500, json.dumps({"error": error}).encode())
    assert isinstance(failure, LlmAway)
    assert failure.retry_after == 17


def test_an_error_tells_nothing_of_headers_and_stacks():
    error = {
        "message": "it failed",
        "stack": "secret-stack",
        "config": {"headers": {"x-api-key": "secret-key"}, "data": "what Maria wrote"},
    }
    told = str(read_failure(500, json.dumps({"error": error}).encode()))
    assert "it failed" in told
    assert not any(each in told for each in ("secret", "Maria"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("text", "messages", "handoff", "silence", "usage", "error", "output", "json"),
                    *("content", "choices", "message", "type", "reason", "media", "caption", "to"),
                    *(
                        "reaction",
                        "location",
                        "contact",
                        "latitude",
                        "name",
                        "phone",
                        "body",
                        "say",
                    ),
                    *("stop_reason", "file_name", "audio", "data", "execution_id", "finish_reason"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_json_comes_is_an_answer_or_a_failure(value: Any):
    try:
        found = read_answer(json.dumps(value).encode(), ABOUT)
    except LlmError:
        return
    if isinstance(found, Answered):
        assert bool(found.parts) != (found.silence is not None)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_are_an_answer_or_a_failure(body: bytes):
    with suppress(LlmError):
        read_answer(body, ABOUT)
    assert isinstance(read_failure(500, body), LlmError)


@given(JSON, st.integers(400, 599))
def test_whatever_error_comes_is_a_failure(value: Any, status: int):
    assert isinstance(read_failure(status, json.dumps(value).encode()), LlmError)


@given(
    st.sampled_from(TECHNICAL),
    st.lists(st.sampled_from(["output", "json", "list", "fence", "text"]), max_size=4),
)
def test_nothing_technical_passes_however_it_is_wrapped(text: str, wrappings: list[str]):
    answer: Any = {"text": text}
    for wrapping in wrappings:
        if wrapping == "list":
            answer = [answer]
        elif wrapping == "fence":
            answer = {"output": f"```json\n{json.dumps(answer)}\n```"}
        else:
            answer = {wrapping: answer}
    with pytest.raises(LlmError):
        read_answer(json.dumps(answer).encode(), ABOUT)
