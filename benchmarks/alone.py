"""Workflows that answer without a router, like those that builders make."""

from itertools import pairwise
from typing import Any

Json = dict[str, Any]

BARE = "bare"
ALONE = "alone"
INSTANCE = "alone"
"""The instance through which they answer."""

TABLES = """
create table if not exists chat_pauses (jid text primary key);
create table if not exists chat_messages (
    id bigint generated always as identity primary key, jid text not null, wa_id text unique,
    from_me boolean not null, body text not null
);
create index if not exists chat_messages_by_jid on chat_messages (jid, id);
"""

_MODEL = "claude-haiku-5-5"
_SYSTEM = "You are a WhatsApp assistant."
_ANTHROPIC = "https://api.anthropic.com/v1/messages"  # the URL in the files; the import replaces it
_DATA = "$('Webhook').first().json.body.data"
_POSTGRES = {"postgres": {"id": "benchPostgres", "name": "PostgreSQL"}}
_SEEN = """
with new as (
    insert into chat_messages (jid, wa_id, from_me, body) values ($1, $2, false, $3)
    on conflict (wa_id) do nothing returning jid
)
select n.jid,
    coalesce((
        select string_agg(
            case when m.from_me then 'assistant: ' else 'user: ' end || m.body,
            chr(10) order by m.id
        )
        from (select * from chat_messages where jid = $1 order by id desc limit 40) as m
    ), '') as history
from new as n where not exists (select from chat_pauses as p where p.jid = n.jid)
"""
_SAID = "insert into chat_messages (jid, from_me, body) values ($1, true, $2)"


def bare(evolution_url: str, apikey: str) -> Json:
    """Return a workflow without any state: webhook, LLM, sendText."""
    answer = _answer(f"{_DATA}.message.conversation")
    return _workflow("benchBare", BARE, [answer, _send(evolution_url, apikey)])


def alone(evolution_url: str, apikey: str) -> Json:
    """Return a workflow that does the router's work itself, with n8n's Postgres nodes.

    It drops repeated messages and paused chats, remembers the conversation, and answers.
    """
    jid, wa_id = f"{_DATA}.key.remoteJid", f"{_DATA}.key.id"
    said = f"{_DATA}.message.conversation"
    answer = _answer(f"'Earlier:\\n' + $json.history + '\\nNow:\\n' + {said}")
    text = "$('Answer').first().json.content[0].text"
    return _workflow(
        "benchAlone",
        ALONE,
        [
            _query("New, and not paused?", _SEEN, f"={{{{ [{jid}, {wa_id}, {said}] }}}}"),
            answer,
            _send(evolution_url, apikey),
            _query("Remember", _SAID, f"={{{{ [{jid}, {text}] }}}}"),
        ],
    )


def _workflow(identifier: str, path: str, steps: list[Json]) -> Json:
    nodes = [_webhook(path), _from_contact(), *steps]
    order = [node["name"] for node in nodes]
    connections: Json = {
        here: {"main": [[{"node": there, "type": "main", "index": 0}]]}
        for here, there in pairwise(order)
    }
    return {
        "id": identifier,
        "name": path,
        "nodes": nodes,
        "connections": connections,
        # Like in the shipped flows: the cost of a reply is compared, not the cost of storing
        # executions.
        "settings": {"executionOrder": "v1", "saveDataSuccessExecution": "none"},
    }


def _webhook(path: str) -> Json:
    key = {"httpHeaderAuth": {"id": "hybridflowKey", "name": "HybridFlow and n8n"}}
    parameters = {"httpMethod": "POST", "path": path, "authentication": "headerAuth"}
    parameters |= {"responseMode": "onReceived"}
    return _node(
        *("Webhook", "n8n-nodes-base.webhook", 2.1),
        {**parameters, "options": {}},
        credentials=key,
        webhookId=path,
    )


def _from_contact() -> Json:
    condition = {
        "leftValue": "={{ $json.body.data.key.fromMe }}",
        "rightValue": "",
        "operator": {"type": "boolean", "operation": "false", "singleValue": True},
        "id": "contact",
    }
    options = {"caseSensitive": True, "leftValue": "", "typeValidation": "loose", "version": 2}
    conditions = {"options": options, "combinator": "and", "conditions": [condition]}
    parameters = {"conditions": conditions, "options": {}}
    return _node("From a contact?", "n8n-nodes-base.if", 2.2, parameters)


def _answer(text: str) -> Json:
    """Ask the model like inbound.json: by an HTTP Request with n8n's credential."""
    said = f"{{ model: '{_MODEL}', max_tokens: 1024, system: '{_SYSTEM}'"
    return _node(
        *("Answer", "n8n-nodes-base.httpRequest", 4.2),
        {
            "method": "POST",
            "url": _ANTHROPIC,
            "authentication": "predefinedCredentialType",
            "nodeCredentialType": "anthropicApi",
            "sendHeaders": True,
            "headerParameters": {
                "parameters": [{"name": "anthropic-version", "value": "2023-06-01"}]
            },
            "sendBody": True,
            "specifyBody": "json",
            "jsonBody": f"={{{{ {said}, messages: [{{ role: 'user', content: {text} }}] }} }}}}",
            "options": {"timeout": 60000},
        },
        credentials={"anthropicApi": {"id": "hybridflowAnthropic", "name": "Anthropic"}},
    )


def _query(name: str, query: str, values: str) -> Json:
    parameters = {"operation": "executeQuery", "query": query}
    options = {"queryReplacement": values}
    return _node(
        *(name, "n8n-nodes-base.postgres", 2.6),
        {**parameters, "options": options},
        credentials=_POSTGRES,
    )


def _send(evolution_url: str, apikey: str) -> Json:
    return _node(
        *("Send", "n8n-nodes-base.httpRequest", 4.2),
        {
            "method": "POST",
            "url": f"{evolution_url}/message/sendText/{INSTANCE}",
            "sendHeaders": True,
            "headerParameters": {"parameters": [{"name": "apikey", "value": apikey}]},
            "sendBody": True,
            "specifyBody": "json",
            "jsonBody": (
                f"={{{{ {{ number: {_DATA}.key.remoteJid, text: $json.content[0].text }} }}}}"
            ),
            "options": {},
        },
    )


def _node(name: str, kind: str, version: float, parameters: Json, **more: Any) -> Json:
    named = {"id": name, "name": name, "type": kind, "typeVersion": version, "position": [0, 0]}
    return {**named, "parameters": parameters, **more}
