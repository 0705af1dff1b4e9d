"""Decides whether a reply may be sent, as far as that is possible without a service. Pure."""

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
    "model_refused",  # the model declined to answer: there is no reply
]
_LEAKED_NOTES = 80  # characters of our own rules; no reply has a reason to quote them
_LEAKED_OF_PEOPLE = 40  # characters of people's notes about a customer: they are not for customers


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

    An unusable pattern counts as a match, so that no rule is ever skipped. `facts` may be quoted,
    even if the prompt or a note contains the same text. So may the contact's own words, even if a
    note contains them.
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
    # The known text is only read for the few notes that the reply quotes.
    said = (note for note in people_noted if leaks(note, text, _LEAKED_OF_PEOPLE))
    if any(leaks(note, text, _LEAKED_OF_PEOPLE, known) for note in said):
        return Objection("prompt_leak", "a long piece of an internal note, word for word")
    return None
