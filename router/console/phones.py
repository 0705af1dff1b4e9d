"""The demo's phones, and the faults that can be caused there, through the simulating programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from router.configuration.demo import Demo
from router.errors import Conflict

CUSTOMER = "5511955550182"
_NAME = "Marina"
_PATIENCE = 10.0  # seconds; a message is answered when its webhook is processed
_AWAY = "the demo's phones do not answer: start make run again"
Fault = Literal["lose_answer", "twice", "llm_away"]


@dataclass(frozen=True, slots=True)
class Phones:
    """The customer's and the owner's phone: the two sides of one conversation."""

    demo: Demo
    http: httpx.AsyncClient

    async def transcript(self) -> list[dict[str, Any]]:
        """Return the messages on the customer's phone, oldest first: wa_id, author, text."""
        said: list[dict[str, Any]] = await self._ask("GET", self._customer)
        return said

    async def customer_writes(self, text: str) -> None:
        """Write as the customer."""
        await self._ask("POST", self._customer, {"does": "writes", "text": text, "name": _NAME})

    async def owner_writes(self, text: str) -> None:
        """Write by hand as the owner, on the business's phone."""
        await self._ask("POST", f"owner/{CUSTOMER}", {"does": "writes", "text": text})

    async def break_it(self, fault: Fault) -> None:
        """Cause a fault. Raises Conflict if that is not possible now."""
        match fault:
            case "lose_answer":
                await self._ask("POST", "faults/sendText", {"fault": "taken_then_cut"})
            case "twice":
                await self._deliver_twice()
            case "llm_away":
                await self._take_llm_away()

    @property
    def _customer(self) -> str:
        return f"customers/{CUSTOMER}"

    async def _deliver_twice(self) -> None:
        written = [each for each in await self.transcript() if each["author"] == "customer"]
        if not written:
            raise Conflict("nothing was written yet that could be delivered twice")
        again = {"does": "repeats", "text": written[-1]["text"], "wa_id": written[-1]["wa_id"]}
        await self._ask("POST", self._customer, again)

    async def _take_llm_away(self) -> None:
        if self.demo.llm_url is None:
            raise Conflict("a real model answers: it is not played, so it cannot be taken away")
        await self._sent(
            "POST", f"{self.demo.llm_url}/_control/faults", {"fault": "overloaded", "times": 4}
        )

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        place = f"{self.demo.evolution_url}/_control/instances/{self.demo.instance_name}/{path}"
        return (await self._sent(method, place, body)).json()

    async def _sent(self, method: str, url: str, body: Mapping[str, Any] | None) -> httpx.Response:
        try:
            answer = await self.http.request(method, url, json=body, timeout=_PATIENCE)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise Conflict(_AWAY) from error
        return answer
