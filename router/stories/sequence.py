"""Marks happenings of a story that depend on others: repeated attempts, and resolved doubts.

Pure. The state returns each happening without looking at the others.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Facts = Mapping[str, Any]


def in_sequence(happenings: Iterable[Facts]) -> list[Facts]:
    """Return the happenings with `begins_again` and `was_found`, if these are true.

    `begins_again`: the attempt has the number of an earlier one, which did not count. `was_found`:
    the send was in doubt when its attempt ended, and is now known to have left.
    """
    told: list[Facts] = []
    begun: set[int] = set()
    send: int | None = None  # the index of the current attempt's last send
    for each in happenings:
        match each["kind"]:
            case "retried":
                begun.clear()  # attempts are counted from 1 again
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
