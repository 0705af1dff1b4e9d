"""One tenant, while another tenant or a stranger attacks: `python -m benchmarks.hostile`.

A router has two tenants. The customers of one write, one after the other. The time until the reply
is measured (webhook in, sendText out; the LLM takes a second), first without an attack, then under
each attack of `benchmarks/attacks.py`. The output has this time compared with the quiet one, the
time of /health/live, the router's memory, the number of refused API calls with a valid key, and the
attacker's CPU, which shares the machine's cores. If a message is not answered, the benchmark exits
with 1.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.attacks import ATTACKS, HOSTILE
from benchmarks.http_load import webhook
from benchmarks.serving import ROOT, environment, serving_process
from loopback.anthropic import Anthropic
from loopback.server import LoopbackServer
from router.embedded.ports import free_port
from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate

QUIET = "quiet"
_SECRET = "benchmark-secret-0000000000"
_KEY = "benchmark-key-00000000000000000000"
_LLM_SECONDS = 1.0
_WARM_UP = 5  # messages before the measurement
_BETWEEN = 0.1  # seconds between two customers' messages
_PATIENCE = 60.0  # seconds after which a message counts as unanswered
_LOOK = 0.05  # seconds between two checks of /health/live and of the memory
_CALL = 0.5  # seconds between two API calls
_AIM_TIMES, _AIM_LIVE, _AIM_MEMORY = 2.0, 0.5, 400.0


class Phones(LoopbackServer):
    """The quiet tenant's Evolution. It only records when each number got its reply."""

    def __init__(self) -> None:
        self.replied: dict[str, float] = {}
        path = "/{group}/{method}/{instance}"
        super().__init__(Starlette(routes=[Route(path, self._take, methods=["GET", "POST"])]))

    async def _take(self, request: Request) -> Response:
        if request.path_params["method"] != "sendText":
            return JSONResponse({"instance": {"state": "open"}}, status_code=200)
        body = await request.json()
        number = str(body["number"]).partition("@")[0]
        self.replied.setdefault(number, time.perf_counter())
        key = {"id": f"BAE5{time.time_ns():018X}", "remoteJid": f"{number}@s.whatsapp.net"}
        return JSONResponse({"key": {**key, "fromMe": True}, "status": "PENDING"}, status_code=201)


@dataclass(slots=True)
class Row:
    """The results under one attack; times in seconds, memory in MB."""

    name: str
    asked: int
    waited: list[float] = field(default_factory=list)
    live: list[float] = field(default_factory=list)
    calls: int = 0
    refused: int = 0
    """The refused API calls with a valid key, from the attacker's address."""
    memory: float = 0.0
    cpu: float = 0.0

    @property
    def unanswered(self) -> int:
        """How many messages got no reply."""
        return self.asked - len(self.waited)


@dataclass(frozen=True, slots=True)
class Run:
    """What all measurements of a run have in common."""

    router: str
    pid: int
    postgres: EmbeddedPostgres
    phones: Phones
    messages: int
    seconds: float
    """The minimum duration of an attack, and its duration before the first message."""


def main() -> None:
    """Measure and print. Exits with 1 if a message was not answered."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__)
    parser.add_argument("--messages", type=int, default=50, help="under each attack (50)")
    parser.add_argument("--seconds", type=float, default=5, help="of attack before the first (5)")
    parser.add_argument(
        "--only", nargs="+", choices=ATTACKS, default=list(ATTACKS), metavar="ATTACK",
        help=f"of {', '.join(ATTACKS)}",
    )  # fmt: skip
    given = parser.parse_args()
    with ExitStack() as stack:
        run = stack.enter_context(_set_up(given.messages, given.seconds))
        asyncio.run(_warm_up(run))
        rows = [
            asyncio.run(_measure(run, number, name))
            for number, name in enumerate(["", *given.only])
        ]
    _report(rows)
    if lost := sum(row.unanswered for row in rows):
        raise SystemExit(f"{lost} messages were not answered within {_PATIENCE:.0f} s")


@contextmanager
def _set_up(messages: int, seconds: float) -> Iterator[Run]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridflow-bench-")))
        folder.chmod(0o755)
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        asyncio.run(migrate(postgres.dsn))
        phones = stack.enter_context(Phones())
        llm = stack.enter_context(Anthropic())
        llm.fail(llm.is_late(_LLM_SECONDS), times=None)
        for name in (QUIET, HOSTILE):
            _sql(
                postgres,
                "insert into tenants (instance_name, evo_server_url, evo_api_key, debounce_seconds)"
                f" values ('{name}', '{phones.url}', 'key', 0)",
            )
        configuration = {
            "DATABASE_URL": postgres.dsn,
            "API_KEYS": f"benchmark:{_KEY}",
            "EVOLUTION_WEBHOOK_SHARED_SECRET": _SECRET,
            "ALLOWED_NETWORKS": "127.0.0.0/8",
            "ANTHROPIC_API_KEY": "sk-ant-for-the-loopback",
            "ANTHROPIC_BASE_URL": llm.url,
            "DEBOUNCE_SECONDS": "0",
            "TYPING_SECONDS": "0",
            "LOOP_REPLIES": "0",
        }
        served = serving_process(("router.serving",), configuration, free_port())
        router, pid = stack.enter_context(served)
        yield Run(router, pid, postgres, phones, messages, seconds)


async def _warm_up(run: Run) -> None:
    await asyncio.gather(*(_ask(run, 90_000_000 + message) for message in range(_WARM_UP)))


async def _measure(run: Run, number: int, name: str) -> Row:
    row = Row(name or "nothing", run.messages)
    async with _looking(run, row), _attack(run, name, row):
        await asyncio.sleep(run.seconds if name else 0)
        first = 10_000 * number
        asks = []
        for message in range(first, first + run.messages):
            asks.append(asyncio.create_task(_ask(run, message)))
            await asyncio.sleep(_BETWEEN)
        waited = await asyncio.gather(*asks)
    row.waited = sorted(each for each in waited if each is not None)
    return row


async def _ask(run: Run, message: int) -> float | None:
    """Write as one customer. Returns how long the reply took; None: there was none."""
    number = f"55119{message:08}"
    began = time.perf_counter()
    async with httpx.AsyncClient(timeout=_PATIENCE, trust_env=False) as http:
        while time.perf_counter() - began < _PATIENCE:  # like Evolution, send it again
            with suppress(httpx.TransportError):
                answer = await http.post(
                    f"{run.router}/webhook/{QUIET}",
                    content=webhook(message, 10**8, QUIET),
                    headers={"X-Webhook-Secret": _SECRET, "Content-Type": "application/json"},
                )
                if answer.status_code == 200:
                    break
            await asyncio.sleep(_LOOK)
    while time.perf_counter() - began < _PATIENCE:
        if number in run.phones.replied:
            return run.phones.replied[number] - began
        await asyncio.sleep(0.01)
    return None


@asynccontextmanager
async def _attack(run: Run, name: str, row: Row) -> AsyncIterator[None]:
    """Attack during the block, from another process."""
    if not name:
        yield
        return
    port = free_port()
    server = f"http://127.0.0.1:{port}" if name.startswith("evolution") else run.phones.url
    _sql(
        run.postgres,
        f"update tenants set evo_server_url = '{server}' where instance_name = '{HOSTILE}'",
    )
    lasts = run.seconds + run.messages * _BETWEEN + 2 * _LLM_SECONDS
    attacker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.attacks", name, "--router", run.router),
        *("--secret", _SECRET, "--port", str(port), "--seconds", str(lasts)),
        cwd=ROOT,
        env=environment({}),
        stdout=subprocess.PIPE,
    )
    try:
        yield
    finally:
        said, _ = await attacker.communicate()
        row.cpu = json.loads(said)["cpu"] if said else 0.0
        await _calm_down(run)


async def _calm_down(run: Run) -> None:
    """Remove what the attack has left, so that the next one starts under the same conditions."""
    _sql(
        run.postgres,
        "update turns set state = 'cancelled', reason = 'superseded', lease_until = null"
        " where state not in ('sent', 'cancelled', 'dead') and tenant_id ="
        f" (select id from tenants where instance_name = '{HOSTILE}')",
    )
    await asyncio.sleep(1)


@asynccontextmanager
async def _looking(run: Run, row: Row) -> AsyncIterator[None]:
    """Check /health/live and the router's memory repeatedly."""

    async def live() -> None:
        while True:
            began = time.perf_counter()
            with suppress(httpx.TransportError):
                async with httpx.AsyncClient(timeout=_PATIENCE, trust_env=False) as http:
                    await http.get(f"{run.router}/health/live")
            row.live.append(time.perf_counter() - began)
            await asyncio.sleep(_LOOK)

    async def memory() -> None:
        while True:
            row.memory = max(row.memory, _memory(run.pid))
            await asyncio.sleep(_LOOK)

    async def call() -> None:
        while True:
            status = 0
            with suppress(httpx.TransportError):
                async with httpx.AsyncClient(timeout=_PATIENCE, trust_env=False) as http:
                    keys = {"X-API-Key": _KEY}
                    status = (await http.get(f"{run.router}/api/tenants", headers=keys)).status_code
            row.calls += 1
            row.refused += status != 200
            await asyncio.sleep(_CALL)

    looks = [asyncio.create_task(look()) for look in (live, memory, call)]
    try:
        yield
    finally:
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
        row.live.sort()


def _memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def _sql(postgres: EmbeddedPostgres, statement: str) -> None:
    psql = str(postgres.bin_folder / "psql")
    command = [psql, postgres.dsn, "--quiet", "--no-psqlrc", "--tuples-only", "-c", statement]
    subprocess.run(command, check=True, stdout=subprocess.PIPE)


def _of(times: list[float], share: float) -> float:
    return times[min(int(len(times) * share), len(times) - 1)] if times else float("nan")


def _report(rows: list[Row]) -> None:
    times_and_live = ("p50 s", "p95 s", "x quiet", "live p99")
    head = ("messages", "answered", *times_and_live, "RSS MB", "refused", "CPU s", "aim")
    print(f"{'attack':<22}" + "".join(f"{cell:>10}" for cell in head))
    quiet = _of(rows[0].waited, 0.95)
    for row in rows:
        times = _of(row.waited, 0.95) / quiet
        live = _of(row.live, 0.99)
        is_met = times <= _AIM_TIMES and live < _AIM_LIVE and row.memory < _AIM_MEMORY
        is_met = is_met and not row.refused
        cells = (
            *(f"{row.asked}", f"{len(row.waited)}", f"{_of(row.waited, 0.5):.2f}"),
            *(f"{_of(row.waited, 0.95):.2f}", f"{times:.2f}", f"{live:.3f}"),
            *(f"{row.memory:.0f}", f"{row.refused}/{row.calls}", f"{row.cpu:.1f}"),
            "met" if is_met else "missed",
        )
        print(f"{row.name:<22}" + "".join(f"{cell:>10}" for cell in cells))
    print(
        f"\nAim: p95 within {_AIM_TIMES:g} times quiet, /health/live's p99 below {_AIM_LIVE:g} s,"
        f" RSS below {_AIM_MEMORY:.0f} MB, no call\n"
        "of the API with a right key refused. CPU: the attacker's."
    )


if __name__ == "__main__":
    main()
