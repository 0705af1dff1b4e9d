"""Whether a reply may be sent, as far as can be decided without asking a service: pure."""

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
_LEAKED_OF_PEOPLE = 40  # of people's notes about a customer, which never go to the customer


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
    """Return the objection to the whole of a reply, or None.

    An unusable pattern counts as a match: a rule is never skipped. `facts` may be quoted, even if
    the prompt or a note contains the same; so may what the contact wrote, if a note contains it.
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
    # Only for the few notes that the reply quotes at all, the known text is read.
    said = (note for note in people_noted if leaks(note, text, _LEAKED_OF_PEOPLE))
    if any(leaks(note, text, _LEAKED_OF_PEOPLE, known) for note in said):
        return Objection("prompt_leak", "a long piece of an internal note, word for word")
    return None
