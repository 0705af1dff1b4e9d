"""A speech service: POST /v1/audio/transcriptions, like OpenAI's, Groq's and whisper servers.

It returns a chosen text, or the result of `hear` for the sound. It refuses files by their names,
like the real services (they do not know .opus and .oga), and files larger than 25 MB.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loopback.faults import Fault, FaultPlan, hang, heard_status, wrong_answer
from loopback.llm import shown_key
from loopback.openai_rules import error
from loopback.server import LoopbackServer
from loopback.waiting import Changes, Gate

_CALL = "the listener"
_KNOWN = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "ogg", "wav", "webm")
_MOST_BYTES = 25 * 1024 * 1024

Listens = Callable[["Listened"], str]


@dataclass(slots=True)
class Listened:
    """One request: the file, and the fields beside it."""

    name: str
    mimetype: str
    content: bytes = field(repr=False)
    fields: dict[str, str]
    key: str
    status: int | None = None


class SpeechService(LoopbackServer):
    """The service. Give its `base_url` to the SDK. `key`: the only accepted key."""

    def __init__(self, *, port: int = 0, key: str | None = None) -> None:
        self.key = key
        self.changes = Changes(lambda: f"{len(self.heard)} sounds were heard")
        self.faults = FaultPlan(self.changes)
        self.heard: list[Listened] = []
        self.hears: Listens = lambda _: "quero dois bolos de chocolate"
        self.tells_tokens = True
        """Whether it reports what a sound cost; whisper servers do not."""
        route = Route("/v1/audio/transcriptions", self._transcribe, methods=["POST"])
        super().__init__(Starlette(routes=[route]), port=port)

    @property
    def base_url(self) -> str:
        """The URL for the SDK's `base_url`."""
        return f"{self.url}/v1"

    def hold(self) -> Gate:
        """Hold every request from now on, until the gate is opened."""
        return self.faults.hold(_CALL)

    def fail(self, fault: Fault, *, times: int | None = 1) -> None:
        """Let the next `times` requests (None: all, until `heal`) fail with this fault."""
        self.faults.fail(_CALL, fault, times=times)

    def heal(self) -> None:
        """Remove the faults, and open the gates."""
        self.faults.heal()

    def broken(self) -> Fault:
        """Return the fault 500."""
        return wrong_answer(500, error("The server had an error.", kind="server_error"))

    def refuses(self) -> Fault:
        """Return the fault of a sound that cannot be decoded."""
        return wrong_answer(400, error("The audio file could not be decoded."))

    def never_answers(self) -> Fault:
        """Return the fault of an answer that never comes."""
        return hang()

    async def asked(self, times: int = 1) -> list[Listened]:
        """Wait until there have been this many requests, and return all."""
        return await self.changes.until(
            lambda: self.heard[:] if len(self.heard) >= times else [], f"{times} sound(s)"
        )

    async def _transcribe(self, request: Request) -> Response:
        asked = _read(request, await request.body())
        if asked is None:
            return JSONResponse(error("There was no file."), status_code=400)
        if not asked.key or self.key not in (None, asked.key):
            wrong = error("Incorrect API key provided.", code="invalid_api_key")
            return JSONResponse(wrong, status_code=401)
        with self.changes.made():
            self.heard.append(asked)
        if (wrong_file := _refused(asked)) is not None:
            asked.status = wrong_file.status_code
            return wrong_file

        async def answer() -> Response:
            said = {"text": self.hears(asked)}
            usage = {"type": "tokens", "input_tokens": 70, "output_tokens": 12, "total_tokens": 82}
            return JSONResponse(said | ({"usage": usage} if self.tells_tokens else {}))

        response = await self.faults.play(_CALL, request, answer)
        with self.changes.made():
            asked.status = heard_status(response)
        return response


def _refused(asked: Listened) -> Response | None:
    if len(asked.content) > _MOST_BYTES:
        return JSONResponse(error("Maximum content size limit (26214400) exceeded"), 413)
    ending = asked.name.rpartition(".")[2].lower()
    if ending not in _KNOWN:
        message = f"Unrecognized file format. Supported formats: {list(_KNOWN)}"
        return JSONResponse(error(message), status_code=400)
    if not asked.fields.get("model"):
        return JSONResponse(error("you must provide a model parameter"), status_code=400)
    return None


def _read(request: Request, body: bytes) -> Listened | None:
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    whole = message_from_bytes(head + body)
    parts = whole.get_payload() if whole.is_multipart() else []
    fields: dict[str, str] = {}
    file: tuple[str, str, bytes] | None = None
    for part in parts if isinstance(parts, list) else []:
        if not isinstance(part, Message):
            continue
        content = part.get_payload(decode=True)
        name = re.search(r'name="([^"]*)"', part.get("content-disposition", ""))
        if not isinstance(content, bytes) or name is None:
            continue
        if (called := part.get_filename()) is None:
            fields[name[1]] = content.decode()
        else:
            file = (called, part.get_content_type(), content)
    if file is None:
        return None
    return Listened(*file, fields=fields, key=shown_key(request))
