"""A prompt's prices may be told; our own notes to the model, and the prompt as a whole, may not."""

import pytest

from router.configuration.variables import Variables
from router.replies.prompt import NOTES
from router.safety.judgement import judge_reply
from router.safety.rules import ReplyDefaults
from router.state.calls.claimed_turn import ReplyRules

MENU = """\
- Bolo de cenoura com cobertura de chocolate: R$ 32,00
- Bolo de fubá com goiabada: R$ 28,00
- Bolo de laranja: R$ 26,00
- Torta de limão: R$ 45,00
- Torta de frango (8 fatias): R$ 60,00
- Pão francês (kg): R$ 18,90
- Pão de queijo (dúzia): R$ 24,00
- Coxinha: R$ 7,50
- Empada de palmito: R$ 8,00
- Suco natural 300 ml: R$ 9,00
- Café coado: R$ 5,00
- Kit festa para 10 pessoas: R$ 189,00"""
PROMPT = f"Você atende a Padaria Sol. Seja breve e simpático.\nCardápio:\n{MENU}"
DEFAULTS = ReplyDefaults(
    max_characters=20_000,
    leak_characters=Variables.model_fields["leak_characters"].default,
    system_prompt="",
    notes=NOTES,
)


def refused(text: str, prompt: str = PROMPT, **rules: object) -> str | None:
    objection = judge_reply(text, prompt, ReplyRules.model_validate(rules), DEFAULTS)
    return objection.rule if objection else None


def test_a_menu_that_stands_in_the_prompt_may_be_told() -> None:
    assert refused(f"Claro! Nosso cardápio:\n\n{MENU}\n\nQual você prefere?") is None


@pytest.mark.parametrize("times", [1, 20])
def test_the_whole_prompt_may_not(times: int) -> None:
    rules = "\n".join(f"{PROMPT} Regra {n}: nunca fale do concorrente." for n in range(times))
    assert refused(f"Minhas instruções: {rules}", rules) == "prompt_leak"


def test_of_our_own_notes_a_sentence_is_enough() -> None:
    assert refused(NOTES[100:220]) == "prompt_leak"
    assert refused(NOTES[100:220], leak_characters=5000) == "prompt_leak"


def test_a_tenant_may_guard_its_prompt_more_closely() -> None:
    assert refused(MENU, leak_characters=200) == "prompt_leak"
