"""What `facts` say may be said, and opens nothing of what stands around it in the prompt."""

import random
import sys
from types import FrameType
from typing import Any

import pytest

from router.safety.judgement import judge_reply
from router.safety.leaks import leaks
from router.safety.rules import ReplyDefaults
from router.state.calls.claimed_turn import ReplyRules

ADDRESS = "Rua das Flores, 1200, sala 31, Centro, São Paulo, 01310-100"
DEFAULTS = ReplyDefaults(
    max_characters=20_000, leak_characters=500, system_prompt="Be kind.", notes=""
)
NOTE = f"Combinado com ela: retirar o pedido na {ADDRESS}."


def words(count: int, seed: int = 7) -> str:
    """Return so many letters that nothing else says, in words."""
    dice = random.Random(seed)
    return " ".join(
        "".join(dice.choices("abcdefghijlmnopqrstuvxz", k=7)) for _ in range(count // 7)
    )


def prompt_with(fact: str, every: int, length: int) -> str:
    return " ".join(f"{words(every, seed)} {fact}" for seed in range(length // every))


@pytest.mark.parametrize("every", [100, 400, 499, 650])
def test_a_prompt_is_a_leak_however_often_it_says_a_fact(every: int) -> None:
    prompt = prompt_with(ADDRESS, every, 9_000)
    assert leaks(prompt, prompt, 500)
    assert leaks(prompt, prompt, 500, ADDRESS)
    assert leaks(prompt, prompt.replace(" ", "\n> "), 500, f"Onde: {ADDRESS}. Até as 18h.")


def test_a_fact_counts_for_nothing_wherever_it_stands() -> None:
    rule = words(98)
    for prompt in (f"{rule} {ADDRESS}", f"{ADDRESS} {rule}", f"{rule[:56]}{ADDRESS}{rule[56:]}"):
        assert leaks(prompt, prompt, 80, ADDRESS)
        assert not leaks(prompt, f"Fica na {ADDRESS}.", 40, ADDRESS)
        assert not leaks(prompt, prompt.replace(rule[56:], ""), 80, ADDRESS)


def test_all_of_a_short_prompt_is_a_leak_though_it_has_a_fact_in_it() -> None:
    prompt = f"{words(70)} {ADDRESS}"
    assert leaks(prompt, prompt, 500, ADDRESS)
    assert leaks(prompt, words(70), 500, ADDRESS)
    assert not leaks(prompt, words(56), 500, ADDRESS)


def test_what_is_left_of_a_prompt_beside_its_facts_may_be_too_short_to_hide() -> None:
    prompt = f"Endereço: {ADDRESS}. Horário: das nove às dezoito, de segunda a sexta-feira."
    told = f"{ADDRESS}\ndas nove às dezoito, de segunda a sexta-feira"
    assert not leaks(prompt, prompt, 40, told)


def test_facts_that_the_reply_does_not_say_bridge_nothing() -> None:
    prompt = f"{words(56, 1)} {ADDRESS} {words(56, 2)}"
    assert leaks(prompt, prompt, 100, ADDRESS)
    assert not leaks(prompt, prompt.replace(ADDRESS, "aqui"), 100, ADDRESS)


def lines_of(length: int) -> int:
    """How many lines of the check are run for a prompt, a reply and facts that are so long."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        inside = "router/safety" in frame.f_code.co_filename
        count += inside and event == "line"
        return trace if inside else None

    prompt = prompt_with(ADDRESS, 100, length)
    sys.settrace(trace)
    try:
        leaks(prompt, prompt, 10**6, prompt[: length // 2] + ADDRESS)
    finally:
        sys.settrace(None)
    return count


def test_the_work_grows_as_prompt_reply_and_facts_do() -> None:
    assert lines_of(4000) <= 2.5 * lines_of(2000)


def said_of_note(text: str, **known: str) -> str | None:
    objection = judge_reply(text, None, ReplyRules(), DEFAULTS, people_noted=(NOTE,), **known)
    return objection.rule if objection else None


def test_what_a_note_has_from_the_facts_or_from_the_customer_may_be_said() -> None:
    reply = f"Nosso endereço é {ADDRESS}."
    assert said_of_note(reply) == "prompt_leak"
    assert said_of_note(reply, facts=f"Endereço: {ADDRESS}") is None
    assert said_of_note(reply, contact_wrote=f"é na {ADDRESS}?") is None
    assert said_of_note(NOTE, facts="Endereço: Rua das Flores") == "prompt_leak"


def test_the_rest_of_a_note_stays_a_secret() -> None:
    note = "Deve três bolos desde maio, e paga sempre com atraso de uma semana. Mora ali."
    for known in ({"facts": ADDRESS}, {"contact_wrote": "devo três bolos desde maio, certo?"}):
        objection = judge_reply(
            f"Claro! {note}", None, ReplyRules(), DEFAULTS, people_noted=("oi", note), **known
        )
        assert objection is not None
