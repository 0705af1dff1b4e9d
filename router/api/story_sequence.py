"""What one happening of a story says about others: which attempt begins again, which doubt ended.

Pure. The state tells each happening by itself.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Facts = Mapping[str, Any]


def in_sequence(happenings: Iterable[Facts]) -> list[Facts]:
    """Return them with `begins_again` and `was_found`, where those are true.

    An attempt begins again under its number if it did not count. A send of which nobody knew how it
    ended, when its attempt ended, was found if it is known to have left now.
    """
    told: list[Facts] = []
    begun: set[int] = set()
    send: int | None = None  # where the last send of the present attempt is
    for each in happenings:
        match each["kind"]:
            case "retried":
                begun.clear()  # their number starts from one
            case "claimed":
                send = None
                if each["attempt"] in begun:
                    each = {**each, "begins_again": True}  # noqa: PLW2901
                begun.add(each["attempt"])
            case "send":
                send = len(told)
            case "attempt_ended" if each["outcome"] == "in_doubt" and send is not None:
                if told[send].get("send_state") == "sent":
                    told[send] = {**told[send], "was_found": True}
        told.append(each)
    return told
