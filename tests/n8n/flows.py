"""A workflow of flows that misbehave, each under a webhook of its own: `<name>/hybridflow-turn`."""

from itertools import pairwise
from typing import Any

Node = dict[str, Any]
_KEY = {"httpHeaderAuth": {"id": "hybridflowKey", "name": "HybridFlow and n8n"}}


class _Flow:
    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Node] = []

    @property
    def turn(self) -> str:
        return f"$('{self.name}').first().json.body"

    def add(self, kind: str, version: float, parameters: dict[str, Any], **more: Any) -> "_Flow":
        name = self.name if not self.nodes else f"{self.name} {len(self.nodes)}"
        node = {"id": name.replace(" ", "-"), "name": name, "type": kind, "typeVersion": version}
        at = {"position": [len(self.nodes) * 200, 0], "parameters": parameters}
        self.nodes.append({**node, **at, **more})
        return self

    def begins_as_it_is_new(self, **chosen: str) -> "_Flow":
        """Begin as n8n's editor makes the node, with what a builder has chosen in it."""
        parameters = {"path": f"{self.name}/hybridflow-turn", "options": {}, **chosen}
        return self.add("n8n-nodes-base.webhook", 2.1, parameters, webhookId=self.name)

    def begins(self, mode: str = "onReceived") -> "_Flow":
        parameters: dict[str, object] = {
            "httpMethod": "POST",
            "path": f"{self.name}/hybridflow-turn",
        }
        parameters |= {"authentication": "headerAuth", "responseMode": mode, "options": {}}
        return self.add(
            *("n8n-nodes-base.webhook", 2.1, parameters), webhookId=self.name, credentials=_KEY
        )

    def posts(self, url: str, body: str, **more: Any) -> "_Flow":
        parameters = {
            "method": "POST",
            "url": f"={{{{ {self.turn}.urls.{url} }}}}" if "/" not in url else url,
            "sendHeaders": True,
            "headerParameters": {
                "parameters": [{"name": "apikey", "value": f"={{{{ {self.turn}.token }}}}"}]
            },
            "sendBody": True,
            "specifyBody": "json",
            "jsonBody": f"={{{{ {body} }}}}",
            "options": {"response": {"response": {"neverError": True, "fullResponse": True}}},
        }
        return self.add("n8n-nodes-base.httpRequest", 4.2, parameters, **more)

    def says(self, text: str, number: str | None = None) -> "_Flow":
        gateway = f"={{{{ {self.turn}.urls.gateway }}}}/message/sendText/"
        to = f"'{number}'" if number else f"{self.turn}.session.number"
        return self.posts(
            gateway + f"{{{{ {self.turn}.tenant.instance_name }}}}",
            f"{{ number: {to}, text: '{text}' }}",
        )

    def tells_execution(self) -> "_Flow":
        return self.posts("began", "{ execution_id: $execution.id }")

    def responds(self, answer: str) -> "_Flow":
        parameters = {"respondWith": "json", "responseBody": answer, "options": {}}
        return self.add("n8n-nodes-base.respondToWebhook", 1.4, parameters)

    def answers(self, text: str) -> "_Flow":
        """Answer by two nodes as the editor makes them: Edit Fields, Respond to Webhook."""
        fields = {"mode": "raw", "jsonOutput": f'{{ "text": "{text}" }}', "options": {}}
        self.add("n8n-nodes-base.set", 3.4, fields)
        return self.add("n8n-nodes-base.respondToWebhook", 1.5, {"options": {}})

    def shows_key(self) -> "_Flow":
        """Ask an LLM wherever the payload says, with the deployment's key."""
        parameters = {
            "method": "POST",
            "url": "={{ $json.body.tenant.llm_url }}",
            "authentication": "predefinedCredentialType",
            "nodeCredentialType": "anthropicApi",
            "options": {},
        }
        named = {"anthropicApi": {"id": "hybridflowAnthropic", "name": "Anthropic"}}
        return self.add("n8n-nodes-base.httpRequest", 4.2, parameters, credentials=named)

    def asks_llm(self) -> "_Flow":
        """Ask Claude by a plain request, and let its errors break the flow."""
        asked = "{ model: 'm', max_tokens: 9, messages: [{ role: 'user', content: 'oi' }] }"
        version = {"name": "anthropic-version", "value": "2023-06-01"}
        parameters = {
            "method": "POST",
            "url": f"={{{{ {self.turn}.tenant.llm_url }}}}",
            "authentication": "predefinedCredentialType",
            "nodeCredentialType": "anthropicApi",
            "sendHeaders": True,
            "headerParameters": {"parameters": [version]},
            "sendBody": True,
            "specifyBody": "json",
            "jsonBody": f"={{{{ {asked} }}}}",
            "options": {},
        }
        named = {"anthropicApi": {"id": "hybridflowAnthropic", "name": "Anthropic"}}
        return self.add("n8n-nodes-base.httpRequest", 4.2, parameters, credentials=named)

    def done(self) -> "_Flow":
        return self.posts("done", "{}")


def _flows() -> list[_Flow]:
    long_wait = {"resume": "timeInterval", "amount": 3600, "unit": "seconds"}
    return [
        _Flow("twice").begins().says("uma vez").says("uma vez").done(),
        _Flow("parts").begins().says("parte um").says("parte dois").done(),
        _Flow("endless").begins().says("só isto").add("n8n-nodes-base.wait", 1.1, long_wait),
        _Flow("mute").begins().add("n8n-nodes-base.noOp", 1, {}),
        _Flow("silent").begins().done(),
        _Flow("crash")
        .begins()
        .tells_execution()
        .add("n8n-nodes-base.stopAndError", 1, {"errorMessage": "the builder's mistake"}),
        _Flow("unpaid").begins().tells_execution().asks_llm().done(),
        _Flow("halfway")
        .begins()
        .tells_execution()
        .says("metade")
        .add("n8n-nodes-base.stopAndError", 1, {"errorMessage": "too late"}),
        _Flow("late")
        .begins(mode="responseNode")
        .says("antes de responder")
        .add("n8n-nodes-base.stopAndError", 1, {"errorMessage": "before it answered the router"})
        .add("n8n-nodes-base.respondToWebhook", 1.4, {"respondWith": "noData", "options": {}}),
        _Flow("answer-empty").begins("responseNode").add("n8n-nodes-base.noOp", 1, {}),
        _Flow("answer-crash")
        .begins("responseNode")
        .add("n8n-nodes-base.stopAndError", 1, {"errorMessage": "the builder's mistake"}),
        _Flow("answer-tired")
        .begins("responseNode")
        .responds('{ "output": "Agent stopped due to max iterations." }'),
        _Flow("answer-human")
        .begins("responseNode")
        .responds('{ "handoff": { "reason": "quer falar", "say": "Já chamo!" } }'),
        _Flow("answer-leak").begins("responseNode").shows_key().responds("={{ $json }}"),
        _Flow("answer-last").begins("lastNode").add("n8n-nodes-base.noOp", 1, {}),
        # Its webhook is what n8n makes of a new one, which takes GET.
        _Flow("answer-new").begins_as_it_is_new(responseMode="responseNode").answers("Temos!"),
        _Flow("answer-open")
        .begins_as_it_is_new(responseMode="responseNode", httpMethod="POST")
        .answers("Temos!"),
        _Flow("stranger").begins().says("para você", "5511900000000").done(),
    ]


def misbehaving() -> dict[str, Any]:
    """The workflow, as a file of n8n_workflows/ would hold it."""
    return _workflow("testMisbehaving", "Flows that misbehave", _flows())


def community() -> dict[str, Any]:
    """A flow that sends by a node of n8n's community."""
    flow = _Flow("community").begins()
    send = {
        "resource": "messages-api",
        "operation": "send-text",
        "instanceName": f"={{{{ {flow.turn}.tenant.instance_name }}}}",
        "remoteJid": f"={{{{ {flow.turn}.session.number }}}}",
        "messageText": "pelo nó da comunidade",
        "options_message": {},
    }
    named = {"evolutionApi": {"id": "evolutionGateway", "name": "Evolution, through the gateway"}}
    flow.add("n8n-nodes-evolution-api.evolutionApi", 1, send, credentials=named)
    return _workflow("testCommunity", "A community node", [flow.done()])


def _workflow(id_: str, name: str, flows: list[_Flow]) -> dict[str, Any]:
    return {
        "id": id_,
        "name": name,
        "settings": {"executionOrder": "v1", "errorWorkflow": "hybridflowError"},
        "nodes": [node for flow in flows for node in flow.nodes],
        "connections": {
            here["name"]: {"main": [[{"node": there["name"], "type": "main", "index": 0}]]}
            for flow in flows
            for here, there in pairwise(flow.nodes)
        },
    }
