"""Show a turn's life, or why a message got no answer: `python -m scripts.turn 42`.

`python -m scripts.turn --message WA_ID` starts from a message, by its id in WhatsApp and Evolution
(key.id). It works on the configured database through the same SQL function as GET
/api/turns/{turn_id}/story. No text of a message is shown. Times are UTC. Exit code 0: the story was
shown; 1: there is no such turn or tenant; 2: the command was not understood.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC

from router.configuration.settings import Settings
from router.state.calls.story import FindTurn, TellTurn, find_turn, tell_turn
from router.state.database import Database
from router.stories.story import Story, story_of
from scripts.operators import as_script
from scripts.running import CannotGoOn, called, run

_UNKNOWN = (
    "No tenant knows the message {wa_id}. Name the instance that it was sent to, to see what to"
    " check: python -m scripts.turn --message {wa_id} --instance NAME"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if (given.turn is None) == (given.message is None):
        parser.error("give a turn's number, or --message WA_ID")

    async def work(_: Settings, state: Database) -> int:
        return await tell(as_script(state), given.turn, given.message, given.instance)

    return run(work)


async def tell(
    database: Database, turn_id: int | None, wa_id: str | None, instance: str | None
) -> int:
    """Print the story, one for each tenant that knows the turn or message. Raises CannotGoOn."""
    asked = FindTurn(turn_id=turn_id, wa_id=wa_id, instance_name=instance)
    found = (await find_turn(database, asked)).found
    if not found and instance is not None:
        raise CannotGoOn(f"there is no tenant with the instance {instance}: scripts.tenant list")
    if not found and turn_id is not None:
        raise CannotGoOn(
            f"there is no turn {turn_id}: it may be past its retention, or its contact was erased"
        )
    if not found:
        raise CannotGoOn(_UNKNOWN.format(wa_id=wa_id))
    for tenant in found:
        about = TellTurn(tenant_id=tenant.tenant_id, turn_id=turn_id, wa_id=wa_id)
        story = story_of(await tell_turn(database, about))
        what = f"message {wa_id}" if turn_id is None else f"turn {story.turn_id}"
        print("\n".join(told(story, f"{what} of {tenant.instance_name}")))
    return 0


def told(story: Story, what: str) -> list[str]:
    """Return the story as lines: its subject, the answer, and the events in their order."""
    state = f", {story.state}" if story.state is not None else ""
    turn = f", turn {story.turn_id}" if story.turn_id is not None else ""
    session = f" (session {story.session_id}{turn}{state})" if story.session_id else ""
    lines = [f"{what[:1].upper()}{what[1:]}{session}", *story.answer]
    if story.happenings:
        lines.append("")
    for each in story.happenings:
        at = each.at.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds")[:23]
        lines.append(f"{at}  {each.says}")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=called("scripts.turn"), description=__doc__)
    parser.add_argument("turn", nargs="?", type=int, help="the turn's number")
    parser.add_argument("--message", metavar="WA_ID", help="start from this message instead")
    parser.add_argument("--instance", metavar="NAME", help="only of this tenant")
    return parser


if __name__ == "__main__":
    sys.exit(main())
