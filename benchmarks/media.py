"""One tenant's texts while another's customers send voice notes: `python -m benchmarks.media`.

A router has two tenants. Four customers of one write texts, each again soon after its reply. Their
waiting time is measured (webhook in, sendText out; the LLM takes no time): first alone, then while
the other tenant gets `--notes` voice notes at once, until the last of them was transcribed. Each
note is really fetched, opened and converted, and transcribed by a service that takes `--hearing`
seconds. `x_alone` compares the two rows of the run. If a text or a note gets no reply, or a note is
not transcribed, the benchmark exits with a message and 1.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.costs import psql
from benchmarks.customers import Customers, routers
from benchmarks.http_load import webhook_of
from benchmarks.instant import Outside
from loopback.evolution.contents import voice
from loopback.faults import slow
from loopback.speech import SpeechService
from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate
from tests.files import sound

_TEXTS, _NOTES = "texts", "notes"  # the two tenants
_WRITERS = 4  # at once: so few that they do not slow each other down
_BETWEEN = 0.1  # seconds between a reply and that customer's next text
_WARM_UP = 20  # texts before the measurement
_PATIENCE = 300.0  # the most seconds until the last note was transcribed
_NOTE_SECONDS = 7
_HEAD = ("texts", "sent", "answered", "p50_ms", "p99_ms", "x_alone")


@dataclass(frozen=True, slots=True)
class Row:
    """How long the texts waited for their replies, in seconds; None: there was no reply."""

    name: str
    waited: list[float | None]

    @property
    def answered(self) -> list[float]:
        """The waits that ended with a reply, the shortest first."""
        return sorted(each for each in self.waited if each is not None)

    def of(self, share: float) -> float:
        """Return this quantile of the waits, in milliseconds."""
        times = self.answered
        return 1000 * times[int(len(times) * share)] if times else float("nan")


@dataclass(frozen=True, slots=True)
class Flood:
    """The results of the notes; times in seconds since they were sent."""

    heard: list[float]
    answered: int


def main() -> None:
    """Measure and print. Exits with a message and 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.media", description=__doc__)
    parser.add_argument("--notes", type=int, default=50, help="at once (50)")
    parser.add_argument("--texts", type=int, default=200, help="of each row, at least (200)")
    parser.add_argument("--hearing", type=float, default=1.0, help="seconds of each note (1)")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridflow-bench-")))
        folder.chmod(0o755)
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        asyncio.run(migrate(postgres.dsn))
        alone, beside, flood = asyncio.run(_measure(postgres, given))
    print("".join(f"{cell:>12}" for cell in _HEAD))
    for row in (alone, beside):
        cells = (
            *(row.name, f"{len(row.waited)}", f"{len(row.answered)}"),
            *(f"{row.of(0.5):.1f}", f"{row.of(0.99):.1f}"),
            f"{row.of(0.5) / alone.of(0.5):.2f}/{row.of(0.99) / alone.of(0.99):.2f}",
        )
        print("".join(f"{cell:>12}" for cell in cells))
    first, last = flood.heard[0], flood.heard[-1]
    print(
        f"\n{given.notes} notes at once: {len(flood.heard)} heard, {flood.answered} answered;"
        f" the first was heard after {first:.1f} s, the last after {last:.1f} s."
    )
    if lost := sum(len(row.waited) - len(row.answered) for row in (alone, beside)):
        raise SystemExit(f"{lost} texts were not answered")
    if (len(flood.heard), flood.answered) != (given.notes, given.notes):
        raise SystemExit("not every note was transcribed once and answered")


async def _measure(postgres: EmbeddedPostgres, given: argparse.Namespace) -> tuple[Row, Row, Flood]:
    with SpeechService() as speech:
        speech.fail(slow(given.hearing), times=None)
        async with Outside() as outside:
            outside.media = sound(_NOTE_SECONDS)
            for name in (_TEXTS, _NOTES):
                psql(
                    postgres,
                    "insert into tenants"
                    " (instance_name, evo_server_url, evo_api_key, debounce_seconds)"
                    f" values ('{name}', '{outside.evolution.url}', 'key', 0)",
                )
            # The limits of one tenant are measured, so they are as in production.
            more = {"STT_BASE_URL": speech.base_url, "STT_API_KEY": "key", "TENANT_SHARE": "0.75"}
            async with routers(1, postgres.dsn, outside, **more) as ((url, _),):
                customers = Customers(url, outside)
                texts = _Texts(customers)
                await texts.row("warm-up", lambda sent: sent >= _WARM_UP)
                alone = await texts.row("alone", lambda sent: sent >= given.texts)
                flood = asyncio.create_task(_send_notes(customers, outside, speech, given.notes))
                beside = await texts.row(
                    "with-notes", lambda sent: sent >= given.texts and flood.done()
                )
                ended = await flood
                await customers.close()
    return alone, beside, ended


class _Texts:
    """The customers of the first tenant; each writes once."""

    def __init__(self, customers: Customers) -> None:
        self._customers = customers
        self._numbers = count()

    async def row(self, name: str, is_enough: Callable[[int], bool]) -> Row:
        """Let some customers write, each again soon after its reply, until it is enough."""
        waited: list[float | None] = []

        async def write() -> None:
            while not is_enough(len(waited)):
                waited.append(await self._customers.ask(_TEXTS, f"55119{next(self._numbers):08}"))
                await asyncio.sleep(_BETWEEN)

        await asyncio.gather(*(write() for _ in range(_WRITERS)))
        return Row(name, waited)


async def _send_notes(
    customers: Customers, outside: Outside, speech: SpeechService, notes: int
) -> Flood:
    """Let this many people send a voice note at once; return when all notes were transcribed."""
    began = time.perf_counter()
    heard: list[float] = []

    def listen(_: object) -> str:
        heard.append(time.perf_counter() - began)
        return "quero dois bolos de chocolate"

    speech.hears = listen
    phones = [f"55218{number:08}" for number in range(notes)]
    waiting, answered = set(phones), asyncio.Event()

    def replied(phone: str) -> None:
        waiting.discard(phone)
        if not waiting:
            answered.set()

    outside.hear(replied)
    for number, phone in enumerate(phones):
        await customers.post(_NOTES, _note(phone, number))
    await speech.changes.until(lambda: len(heard) >= notes, "every note is heard", within=_PATIENCE)
    async with asyncio.timeout(_PATIENCE):
        await answered.wait()
    return Flood(sorted(heard), sum(len(outside.replied[phone]) for phone in phones))


def _note(phone: str, number: int) -> bytes:
    webhook = json.loads(webhook_of(phone, "", _NOTES, number))
    content = voice(_NOTE_SECONDS)
    webhook["data"] |= {"message": content.message, "messageType": content.message_type}
    return json.dumps(webhook).encode()


if __name__ == "__main__":
    main()
