"""Asks a flow of the answer contract: posts the turn, and waits for the reply.

The connection is held for at most a fixed number of seconds. If n8n dies, the connection ends, and
the turn is retried at once. If the router dies, the turn's lease ends, as for every other reply.
"""

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta
from time import monotonic
from typing import Literal

import httpx

from router.llm.errors import LlmAway, LlmFailed
from router.n8n.answered_messages import Conversation
from router.n8n.flow_executions import EXECUTION_HEADER
from router.n8n.proxies import AWAY, GAVE_UP, is_of_a_proxy, told_in
from router.n8n.reply import Reading, is_reply, read_answer, read_failure
from router.n8n.turn_fence import TurnFence
from router.outbound.answers import read_json
from router.outbound.bounds import AnswerTooLong, NotHeardInTime
from router.outbound.transport import POOL_WAIT
from router.state.calls.claimed_turn import ClaimedTurn

_CONNECT = 10.0
_LONG = 4000  # bytes; a longer answer is parsed in a thread
_NO_SUCH = 404
_NOT_THERE = (401, 403, _NO_SUCH)
_TOO_LARGE = 413
_TURNED_AWAY = frozenset(
    {
        *("unauthorized", "ip is not whitelisted to access the webhook", "forbidden"),
        *("ip is not allowed to access the webhook", "404 page not found", "404 not found"),
    }
)
_OTHER_KEY = frozenset({"authorization data is wrong", "authorization is required"})
_OTHER_METHOD = re.compile(r"this webhook is not registered for (get|post) requests")
_SET_POST = "its webhook takes no POST: set the HTTP Method of its Webhook node to POST"
_SET_KEY = (
    "its webhook refuses the router's key: choose the credential HybridFlow and n8n in its Webhook"
    " node; if N8N_API_KEY was changed, import again"
)
_NO_WEBHOOK = re.compile(r"the requested webhook .{0,600} (?:is )?not registered", re.DOTALL)


class NotTaken(Exception):
    """n8n certainly did not begin a flow, so another handler may make the reply.

    `of` names the cause: n8n is away, it has no such flow, or the turn is too large.
    """

    def __init__(self, why: str, of: Literal["n8n", "flow", "turn"]) -> None:
        super().__init__(why)
        self.of = of


class NoSuchFlow(NotTaken):
    """n8n has no webhook at this path, or no published one."""


class N8nAway(LlmAway):
    """n8n is away, and no other handler takes its turns."""

    cause = "n8n_away"


class FlowWaits(LlmAway):
    """The flow keeps failing, and no other handler takes its turns: they wait."""

    cause = "flow_failed"


class N8nDied(N8nAway):
    """The connection ended before the flow answered: the flow or n8n has died."""


class TookTooLong(LlmFailed):
    """The flow did not answer in time."""


class NotHeard(LlmFailed):
    """This router stood still until the time for the flow's answer was over."""

    cause = "failed"  # nobody is told that the flow fails


async def ask_flow(
    http: httpx.AsyncClient,
    url: str,
    content: str,
    headers: Mapping[str, str],
    seconds: float,
    fence: TurnFence | None = None,
) -> httpx.Response:
    """Return n8n's response, whatever its status. Raises NotTaken, LlmError, and SendStopped.

    A test turn has no `fence`: nobody else would take it. `elapsed` of the response is the time
    from the request to its last byte.
    """
    times = httpx.Timeout(seconds, connect=min(_CONNECT, seconds), pool=POOL_WAIT)
    began = monotonic()
    try:
        asked = http.build_request("POST", url, content=content, headers=headers, timeout=times)
        answer = await (http.send(asked) if fence is None else fence.send(http, asked))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise NotTaken(f"n8n cannot be reached: {error}", "n8n") from error
    except httpx.UnsupportedProtocol as error:
        raise NotTaken(f"n8n's webhook is not an address: {error}", "n8n") from error
    except NotHeardInTime as error:
        raise NotHeard(str(error)) from error
    except httpx.TimeoutException as error:
        raise TookTooLong(_too_long(seconds)) from error
    except AnswerTooLong as error:
        raise LlmFailed(f"the flow's answer: {error}") from error
    except httpx.DecodingError as error:
        raise LlmFailed(f"the flow's answer: {error}") from error
    except httpx.HTTPError as error:
        raise N8nDied(f"n8n ended the connection before the flow answered: {error!r}") from error
    answer.elapsed = timedelta(seconds=monotonic() - began)
    return answer


async def is_registered(http: httpx.AsyncClient, url: str) -> bool:
    """Whether the webhook is registered. n8n reports that it is ready before it registers webhooks.

    It is asked by GET first: a POST to a webhook without a credential would start its flow.
    """
    try:
        for method in ("GET", "POST"):
            answer = await http.request(method, url, timeout=3)
            if answer.status_code in (401, 403) or is_there_for_others(answer):
                return True
    except httpx.HTTPError:
        return False
    return False


async def understand(answer: httpx.Response, turn: ClaimedTurn, seconds: float) -> Reading:
    """Return what a flow has answered. Raises NotTaken, and LlmError if there is no reply."""
    status = answer.status_code
    said = f"n8n answered {status}: {words_of(answer)}"
    if answer.is_success:
        return await _read(answer.content, conversation_of(turn))
    if status == _TOO_LARGE:
        raise NotTaken(said, "turn")
    if status < 400 or (status in _NOT_THERE and is_not_begun(answer)):
        is_missing = status == _NO_SUCH and not is_there_for_others(answer)
        raise (NoSuchFlow if is_missing else NotTaken)(said, "flow")
    is_own = is_of_the_flow(answer)
    if status in AWAY and not is_own:
        raise N8nDied(said)
    if status in GAVE_UP and not is_own:
        raise TookTooLong(_cut_off(status, answer.elapsed.total_seconds(), seconds))
    raise read_failure(status, answer.content)


def is_not_begun(answer: httpx.Response) -> bool:
    """Whether the body shows that n8n, or a proxy before it, rejected the turn: no flow ran.

    The status does not show it: a flow's own Respond node may also answer 401, 403 or 404, after it
    has done something.
    """
    if answer.status_code not in _NOT_THERE:
        return True
    if is_of_a_proxy(answer.content):
        return True
    said = _message_of(answer)
    if said is None:
        return False
    told = _plain(said)
    return told in _TURNED_AWAY | _OTHER_KEY or any(
        known.match(told) is not None for known in (_NO_WEBHOOK, _OTHER_METHOD)
    )


def _plain(said: str) -> str:
    return said[:1000].strip().lower().rstrip(".!")


def is_there_for_others(answer: httpx.Response) -> bool:
    """Whether n8n has this webhook, but only for another method."""
    said = _message_of(answer) if answer.status_code == _NO_SUCH else None
    return said is not None and _OTHER_METHOD.match(said.lower()) is not None


def _message_of(answer: httpx.Response) -> str | None:
    """Return the message in a response of n8n, or None if it has no known form."""
    body = answer.content.strip()
    try:
        said = read_json(body)
    except ValueError:
        said = body[:200].decode(errors="replace")
    if isinstance(said, dict):
        said = said.get("message")
    return said if isinstance(said, str) else None


def words_of(answer: httpx.Response) -> str:
    """Return the response's message, for people."""
    said = _message_of(answer) if answer.status_code in _NOT_THERE else None
    if said is None:
        return told_in(answer.content)
    if _plain(said) in _OTHER_KEY:
        return _SET_KEY
    return _SET_POST if _OTHER_METHOD.match(said.lower()) else said.strip().rstrip(".")[:200]


async def says_something(answer: httpx.Response, turn: ClaimedTurn) -> bool:
    """Whether a flow of the gateway contract answers with a reply, as in the answer contract."""
    about = conversation_of(turn)
    if len(answer.content) <= _LONG:
        return is_reply(answer.content, about)
    return await asyncio.to_thread(is_reply, answer.content, about)


def conversation_of(turn: ClaimedTurn) -> Conversation:
    """Return the conversation, as far as the flow's answer may refer to it."""
    known = {message.wa_id: message.from_me for message in turn.history if message.wa_id}
    return Conversation(turn.session.jid, known)


async def _read(body: bytes, about: Conversation) -> Reading:
    if len(body) <= _LONG:
        return read_answer(body, about)
    return await asyncio.to_thread(read_answer, body, about)


def is_of_the_flow(answer: httpx.Response) -> bool:
    """Whether the flow's own Respond node answered, perhaps by passing on a service's error.

    If so, the status says nothing about n8n or a proxy before it.
    """
    if EXECUTION_HEADER in answer.headers:
        return True
    try:
        said = read_json(answer.content)
    except ValueError:
        return False
    return isinstance(said, dict) and bool(said.get("error"))


def _too_long(seconds: float) -> str:
    return (
        f"the flow did not answer within {seconds:g} seconds (N8N_ANSWER_SECONDS): make it quicker,"
        " or let it send by itself (n8n_contract gateway)"
    )


def _cut_off(status: int, after: float, seconds: float) -> str:
    return (
        f"the proxy before n8n gave up waiting for the flow after {round(after, 1):g} seconds (it"
        f" answered {status}). Set its time-out above the {seconds:g} seconds of"
        " N8N_ANSWER_SECONDS, or make the flow quicker, or let it send by itself (n8n_contract"
        " gateway)"
    )
