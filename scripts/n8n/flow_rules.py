"""Rules for flows that the router starts: they need a key, use the gateway, and report.

A turn's flow (webhook hybridflow-turn) may answer: each of its paths then ends in a Respond node,
or in the last node, with whose output n8n responds; n8n reports failures. Or the flow sends by
itself, and must report `done` or `fail`. A notice's flow must only report `done`: otherwise the
notice is told again.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from router.n8n.addresses import TURN_WEBHOOK
from router.n8n.payload import TurnPayload
from router.notices.payload import NoticePayload
from scripts.n8n.canonical import is_trigger
from scripts.n8n.faults import CheckedWorkflow, Fault, Rule
from scripts.n8n.graph import (
    Node,
    begins_with,
    can_fail,
    is_call,
    is_made_up,
    kind_of,
    never_fails,
    posts_to,
    sends_the_last,
)

_OWN_PATH = re.compile(r"(?:^|/)(hybridflow-[^/]*)$")
_PAYLOADS: Mapping[str, type[BaseModel]] = {
    TURN_WEBHOOK: TurnPayload,
    "hybridflow-handoff": NoticePayload,
    "hybridflow-connection": NoticePayload,
}
_SENDS = re.compile(
    r"\b(message/send\w+"
    r"|chat/(sendPresence|markMessageAsRead|updateMessage|deleteMessageForEveryone))\b"
)
_CODE = ("jsCode", "functionCode", "pythonCode", "code")
_GATEWAY_IN_CODE = re.compile(r"\burls\W{1,4}gateway\b")
_ENDS = ("done", "fail", "handoff")
_GOOD_ENDS = ("done",)
_KEY = "hybridflowKey"
_RESPOND = "respondToWebhook"
_STOP = "stopAndError"
_CURES = {"done": "closes the turn", "fail": "reports a failure"}


def _webhook_is_locked(workflow: CheckedWorkflow) -> Iterator[Fault]:
    for node, _ in _webhooks(workflow):
        if node["parameters"].get("authentication") != "headerAuth":
            yield workflow.fault(
                node["name"], "anybody could call it. Set its authentication to header auth."
            )
            continue
        shown = (node.get("credentials") or {}).get("httpHeaderAuth")
        if shown is None:
            yield workflow.fault(
                node["name"], "it has no key to compare with. Choose its header auth credential."
            )
        elif isinstance(shown, dict) and shown.get("id") != _KEY:
            yield workflow.fault(
                node["name"],
                "it would refuse the router, which shows another key. Choose the credential"
                " HybridFlow and n8n.",
            )


def _example_is_valid(workflow: CheckedWorkflow) -> Iterator[Fault]:
    for node, path in _webhooks(workflow):
        pinned = (workflow.content.get("pinData") or {}).get(node["name"])
        if not pinned:
            yield workflow.fault(
                node["name"],
                "it has no pinned example, so that nobody can try it in the editor. Pin one.",
            )
        elif wrong := _wrong_in(pinned[0].get("json"), path):
            yield workflow.fault(
                node["name"],
                f"its pinned example is not what the router posts ({wrong}). See the schema files.",
            )


def _wrong_in(item: Any, path: str) -> str | None:
    model = _PAYLOADS.get(path)
    if model is None:
        return None
    body = item.get("body") if isinstance(item, dict) else None
    try:
        model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(str(step) for step in ('body', *first['loc']))}: {first['msg']}"
    return None


def _nothing_is_sent_past_the_router(workflow: CheckedWorkflow) -> Iterator[Fault]:
    for node in workflow.content["nodes"]:
        given = node["parameters"]
        url = str(given.get("url", ""))
        code = "\n".join(str(given[name]) for name in _CODE if name in given)
        past = (_SENDS.search(url) and not begins_with(url, "gateway")) or (
            _SENDS.search(code) and not _GATEWAY_IN_CODE.search(code)
        )
        if past:
            yield workflow.fault(
                node["name"],
                "it sends past the fence. Begin its URL with the payload's urls.gateway.",
            )


def _addresses_are_known(workflow: CheckedWorkflow) -> Iterator[Fault]:
    """A call that writes must name its address: a check cannot tell where a computed one leads."""
    for node in workflow.content["nodes"]:
        given = node["parameters"]
        url = str(given.get("url", ""))
        reads = str(given.get("method", "GET")) in ("GET", "HEAD", "OPTIONS")
        if is_call(node) and not reads and is_made_up(url) and not _SENDS.search(url):
            yield workflow.fault(
                node["name"],
                "its whole URL is made while it runs, so that nobody can tell where it posts."
                " Begin it with an address, or with one of the payload's URLs.",
            )


def _errors_are_no_answers(workflow: CheckedWorkflow) -> Iterator[Fault]:
    """A call that accepts an error as an answer must be checked before the flow ends with it."""
    if not list(_webhooks(workflow)):
        return
    for node in workflow.graph.steps():
        if node.get("disabled") or not never_fails(node) or posts_to(node, *_ENDS):
            continue
        behind = [workflow.graph.nodes[n] for n in workflow.graph.next_to(node["name"])]
        ends = [one for one in behind if kind_of(one) == _RESPOND or posts_to(one, *_GOOD_ENDS)]
        if ends or (not behind and _answers_with_the_last(workflow)):
            yield workflow.fault(
                node["name"],
                "it never fails (Never Error), and the flow ends with what it gets, an error as"
                " well as an answer. Switch that option off, or look at the status first.",
            )


def _flow_reports(workflow: CheckedWorkflow) -> Iterator[Fault]:
    for node, path in _webhooks(workflow):
        behind = _behind(workflow, node)
        if path == TURN_WEBHOOK and _answers(node, behind):
            continue
        for callback in _wanted(path):
            if not any(_does(one, callback) for one in behind):
                yield workflow.fault(
                    node["name"],
                    f"nothing behind it posts to urls.{callback}, which {_CURES[callback]}."
                    " Add a node that does.",
                )


def _failures_are_handled(workflow: CheckedWorkflow) -> Iterator[Fault]:
    """Every node that can fail has an error output; in a turn's flow it leads to urls.fail."""
    paths = {path for _, path in _webhooks(workflow)}
    if _is_answering(workflow):
        return  # n8n reports failures to the router, which knows what each means
    for node in workflow.graph.steps() if paths else ():
        exempt = is_trigger(node) or posts_to(node, "done", "fail") or not can_fail(node)
        if exempt or node.get("onError") == "continueRegularOutput":
            continue
        if node.get("onError") != "continueErrorOutput":
            yield workflow.fault(
                node["name"], "if it fails, the flow fails. Set On Error to use an error output."
            )
            continue
        behind = [workflow.graph.nodes[n] for n in workflow.graph.after_failure(node["name"])]
        if TURN_WEBHOOK not in paths:
            if not behind:
                text = "its error output leads nowhere. Connect it on to a Stop and Error node."
                yield workflow.fault(node["name"], text)
        elif not any(posts_to(one, "fail") for one in behind):
            wrong = "reports nothing" if behind else "leads nowhere"
            yield workflow.fault(
                node["name"],
                f"its error output {wrong}. Connect it on to a node that posts to urls.fail.",
            )


def _flow_ends_on_purpose(workflow: CheckedWorkflow) -> Iterator[Fault]:
    if not list(_webhooks(workflow)):
        return
    answering = _is_answering(workflow)
    for node in workflow.graph.steps():
        is_end = posts_to(node, *_ENDS) or sends_the_last(node)
        if is_end or kind_of(node) == ("respondToWebhook" if answering else "noOp"):
            continue
        loose = workflow.graph.loose_outputs(node)
        if loose and not (answering and _answers_with_the_last(workflow)):
            which = "" if kind_of(node) not in ("if", "switch") else f" at output {loose[0] + 1}"
            yield workflow.fault(
                node["name"], f"the flow ends here{which}, and {_UNHEARD[answering]}"
            )
        elif _drops_the_rest(node):
            yield workflow.fault(
                node["name"],
                "an item that matches none of its rules ends here without a report."
                " Set its fallback output, and connect it.",
            )


def _answer_comes_first(workflow: CheckedWorkflow) -> Iterator[Fault]:
    """n8n runs the nodes behind an output from top to bottom: the answer must be above a Stop."""
    for groups in workflow.graph.outputs.values():
        for group in groups:
            nodes = [workflow.graph.nodes[name] for name in group]
            answers = [_row(node) for node in nodes if kind_of(node) == _RESPOND]
            for node in nodes:
                if answers and kind_of(node) == _STOP and _row(node) < max(answers):
                    yield workflow.fault(
                        node["name"],
                        "it ends the flow before the answer. Put it below the Respond node:"
                        " n8n runs the nodes behind one output from top to bottom.",
                    )


def _row(node: Node) -> tuple[float, float]:
    across, down = node["position"]
    return down, across


_UNHEARD = {
    True: "without an answer, which is a failed attempt. Connect it on to a Respond to"
    " Webhook node.",
    False: "the router hears of it only when the lease is over. Connect it on to urls.done or"
    " urls.fail, or to a No Operation or Stop and Error node.",
}


def _does(node: Node, callback: str) -> bool:
    return posts_to(node, callback) or (callback == "done" and sends_the_last(node))


def _answers(webhook: Node, behind: list[Node]) -> bool:
    """Whether n8n responds with the flow's reply, and the flow does not send by itself."""
    if any(posts_to(one, *_ENDS) or sends_the_last(one) for one in behind):
        return False
    return webhook["parameters"].get("responseMode") in ("lastNode", "responseNode")


def _is_answering(workflow: CheckedWorkflow) -> bool:
    turns = [node for node, path in _webhooks(workflow) if path == TURN_WEBHOOK]
    return bool(turns) and all(_answers(node, _behind(workflow, node)) for node in turns)


def _answers_with_the_last(workflow: CheckedWorkflow) -> bool:
    return all(
        node["parameters"].get("responseMode") == "lastNode" for node, _ in _webhooks(workflow)
    )


def _behind(workflow: CheckedWorkflow, node: Node) -> list[Node]:
    return [workflow.graph.nodes[name] for name in workflow.graph.after(node["name"])]


def _drops_the_rest(node: Node) -> bool:
    given = node["parameters"]
    if kind_of(node) != "switch" or "values" not in (given.get("rules") or {}):
        return False
    return bool((given.get("options") or {}).get("fallbackOutput", "none") == "none")


def _wanted(path: str) -> tuple[str, ...]:
    return ("done", "fail") if path == TURN_WEBHOOK else ("done",)


def _webhooks(workflow: CheckedWorkflow) -> Iterator[tuple[Node, str]]:
    """Yield the webhooks that the router calls, each with the last part of its path."""
    for node in workflow.graph.of_kind("webhook"):
        if found := _OWN_PATH.search(str(node["parameters"].get("path", ""))):
            yield node, found.group(1)


FLOW_RULES: tuple[Rule, ...] = (
    _webhook_is_locked,
    _example_is_valid,
    _nothing_is_sent_past_the_router,
    _addresses_are_known,
    _errors_are_no_answers,
    _flow_reports,
    _failures_are_handled,
    _flow_ends_on_purpose,
    _answer_comes_first,
)
