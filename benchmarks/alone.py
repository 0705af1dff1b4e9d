"""A workflow that answers by itself, as builders make them without a router."""

from itertools import pairwise
from typing import Any

ALONE = "alone"
_MESSAGE = "$('Webhook').first().json.body.data"


def alone(evolution_url: str, apikey: str) -> dict[str, Any]:
    """Return the workflow: Evolution's webhook, is it the customer?, LLM, sendText."""
    is_contact = {
        "leftValue": "={{ $json.body.data.key.fromMe }}",
        "rightValue": "",
        "operator": {"type": "boolean", "operation": "false", "singleValue": True},
        "id": "contact",
    }
    options = {"caseSensitive": True, "leftValue": "", "typeValidation": "loose", "version": 2}
    nodes = [
        _node(
            *("Webhook", "n8n-nodes-base.webhook", 2.1),
            {
                "httpMethod": "POST",
                "path": ALONE,
                "authentication": "headerAuth",
                "responseMode": "onReceived",
                "options": {},
            },
            credentials={"httpHeaderAuth": {"id": "hybridflowKey", "name": "HybridFlow and n8n"}},
            webhookId=ALONE,
        ),
        _node(
            *("From a contact?", "n8n-nodes-base.if", 2.2),
            {
                "conditions": {"options": options, "combinator": "and", "conditions": [is_contact]},
                "options": {},
            },
        ),
        _node(
            *("Answer", "@n8n/n8n-nodes-langchain.chainLlm", 1.7),
            {
                "promptType": "define",
                "text": f"={{{{ {_MESSAGE}.message.conversation }}}}",
                "messages": {"messageValues": [{"message": "You are a WhatsApp assistant."}]},
            },
        ),
        _node(
            *("Model", "@n8n/n8n-nodes-langchain.lmChatAnthropic", 1.6),
            {
                "model": {"__rl": True, "mode": "id", "value": "claude-haiku-5-5"},
                "options": {"maxTokensToSample": 1024},
            },
            credentials={"anthropicApi": {"id": "hybridflowAnthropic", "name": "Anthropic"}},
        ),
        _node(
            *("Send", "n8n-nodes-base.httpRequest", 4.2),
            {
                "method": "POST",
                "url": f"{evolution_url}/message/sendText/bench",
                "sendHeaders": True,
                "headerParameters": {"parameters": [{"name": "apikey", "value": apikey}]},
                "sendBody": True,
                "specifyBody": "json",
                "jsonBody": f"={{{{ {{ number: {_MESSAGE}.key.remoteJid, text: $json.text }} }}}}",
                "options": {},
            },
        ),
    ]
    order = ["Webhook", "From a contact?", "Answer", "Send"]
    connections: dict[str, Any] = {
        here: {"main": [[{"node": there, "type": "main", "index": 0}]]}
        for here, there in pairwise(order)
    }
    model = {"node": "Answer", "type": "ai_languageModel", "index": 0}
    connections["Model"] = {"ai_languageModel": [[model]]}
    return {
        "id": "benchAlone",
        "name": "Alone",
        "nodes": nodes,
        "connections": connections,
        "settings": {"executionOrder": "v1"},
    }


def _node(
    name: str, kind: str, version: float, parameters: dict[str, Any], **more: Any
) -> dict[str, Any]:
    named = {"id": name, "name": name, "type": kind, "typeVersion": version, "position": [0, 0]}
    return {**named, "parameters": parameters, **more}
