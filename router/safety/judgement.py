"""Whether a reply may be sent, as far as that can be told without asking anybody: pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from router.safety.leaks import leaks
from router.safety.patterns import BadPattern, first_match
from router.safety.rules import ReplyDefaults, longest_reply
from router.state.calls.claimed_turn import ReplyRules

Rule = Literal[
    "too_long",
    "forbidden_pattern",
    "prompt_leak",
    "moderation",
    "moderation_away",
    "model_refused",  # there is no reply: the model declines to answer
]
_LEAKED_NOTES = 80  # characters of our own rules, which no business has a reason to quote
_LEAKED_OF_PEOPLE = 40  # of what people noted of a customer, which never goes to the customer


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a reply may not be sent; `detail` says more, without the reply's text."""

    rule: Rule
    detail: str


def judge_reply(
    text: str,
    system_prompt: str | None,
    rules: ReplyRules,
    defaults: ReplyDefaults,
    facts: str | None = None,
    people_noted: Sequence[str] = (),
    contact_wrote: str = "",
) -> Objection | None:
    """Return what stands against the whole of a reply, or None.

    A pattern that cannot be used counts as matched: a rule that is there is never passed over.
    `facts` may be quoted, also where the prompt or a note has the same; so may what the contact
    wrote, where a note has it.
    """
    longest = longest_reply(rules.max_characters, defaults)
    if len(text) > longest:
        return Objection("too_long", f"{len(text)} characters, {longest} are allowed")
    try:
        pattern = first_match(rules.forbidden_patterns, text)
    except BadPattern as error:
        return Objection("forbidden_pattern", str(error))
    if pattern is not None:
        return Objection("forbidden_pattern", pattern)
    least = rules.leak_characters
    if least is None:
        least = defaults.leak_characters
    own = system_prompt or defaults.system_prompt
    if leaks(own, text, least, facts or "") or (
        least and leaks(defaults.notes, text, _LEAKED_NOTES)
    ):
        return Objection("prompt_leak", "a long piece of the system prompt, word for word")
    known = f"{facts or ''}\n{contact_wrote}"
    # What is known is read for the few notes of which something is said at all.
    said = (note for note in people_noted if leaks(note, text, _LEAKED_OF_PEOPLE))
    if any(leaks(note, text, _LEAKED_OF_PEOPLE, known) for note in said):
        return Objection("prompt_leak", "a long piece of an internal note, word for word")
    return None
