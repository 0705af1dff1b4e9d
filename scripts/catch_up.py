"""Fetch messages from Evolution that no webhook has brought: `python -m scripts.catch_up`.

It does this for all active tenants, or for one (--instance). It begins at the time from which
messages may be missing, or at --since. Known messages are not changed, so running this twice does
no harm. Exit code 0: all tenants were checked; 1: at least one could not be, with the reason.
"""

import argparse
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

from router.configuration.settings import Settings
from router.errors import StateError
from router.evolution.client import EvolutionClient
from router.evolution.errors import EvolutionError
from router.intake.gap_repair import GapReport, repair_gap
from router.intake.ingester import Ingester
from router.intake.marks import Marks
from router.outbound.client import open_tenant_http
from router.people.hashing import ContactHashes
from router.sharing.rates import Rates
from router.state.calls.tenants import ListTenants, list_tenants
from router.state.database import Database
from router.state.pages import all_items
from router.tenants.instance import InstanceKeys, find_instance
from router.tenants.policy import policy
from scripts.running import called, run

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    given = _parser().parse_args(arguments)

    async def work(settings: Settings, database: Database) -> int:
        return await catch_up(settings, database, given.instance, given.since)

    return run(work)


async def catch_up(
    settings: Settings, database: Database, instance: str | None, since: datetime | None
) -> int:
    """Repair the gap of one instance or of all, and print what was found."""
    failures = 0
    hashes = ContactHashes.of(settings.secrets_key, settings.webhook_secrets)
    marks = Marks(hashes, Rates(), settings.contact_messages_per_minute)
    # No reactions here: routers find the decisions in the database.
    ingester = Ingester(database, policy(settings), marks, lambda _event, _decision: None)
    async with open_tenant_http(settings, settings.send_timeout) as http:
        evolution = EvolutionClient(http, most_media=settings.max_media_bytes)
        async for name in _instances(database, instance):
            try:
                tenant = await find_instance(database, name, InstanceKeys.of(settings))
                report = await repair_gap(database, evolution, tenant, ingester, since)
            except (EvolutionError, StateError) as error:
                failures += 1
                print(f"{name}: {error}", file=sys.stderr)
            else:
                print(_told(report))
    return 1 if failures else 0


async def _instances(database: Database, instance: str | None) -> AsyncIterator[str]:
    if instance is not None:
        yield instance
        return
    async for tenant in all_items(list_tenants, database, ListTenants()):
        if tenant.is_active:
            yield tenant.instance_name


def _told(report: GapReport) -> str:
    since = report.since.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [f"{report.new} new", f"{report.known} known"]
    if report.unused:
        parts.append(f"{report.unused} not used (groups, status posts)")
    if report.failed:
        parts.append(f"{report.failed} could not be recorded")
    if report.turns:
        parts.append(f"{report.turns} to be answered")
    told = f"{report.instance}: {report.listed} messages since {since}: {', '.join(parts)}"
    return told if report.complete else f"{told}; there are more: run again with a later --since"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=called("scripts.catch_up"), description=__doc__)
    parser.add_argument("--instance", metavar="NAME", help="only this one")
    parser.add_argument(
        "--since",
        type=_moment,
        metavar="WHEN",
        help="a time (2026-01-31T08:00Z) or how long ago (90m, 12h, 3d)",
    )
    return parser


def _moment(text: str) -> datetime:
    """Return the time in `text`. Raises ArgumentTypeError, which argparse shows."""
    if text[-1:] in _UNITS and text[:-1].isdigit():
        return datetime.now(UTC) - timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time: write 2026-01-31T08:00Z, or 90m, 12h, 3d"
        ) from None
    return moment if moment.tzinfo else moment.astimezone()


if __name__ == "__main__":
    sys.exit(main())
