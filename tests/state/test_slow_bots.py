"""A bot that answers slowly, and in other words each time, is noticed; people are not."""

import itertools
import random
from collections.abc import Callable

import pytest

from tests.state.conversation import Conversation

WORDS = [
    "pão",
    "bolo",
    "doce",
    "torta",
    "café",
    "suco",
    "leite",
    "queijo",
    "mel",
    "nata",
    "ovo",
    "sal",
    "trigo",
    "uva",
    "figo",
    "rua",
    "casa",
    "porta",
    "mesa",
    "livro",
    "carta",
    "lápis",
    "papel",
    "tinta",
    "copo",
    "prato",
    "faca",
    "garfo",
    "panela",
    "fogo",
    "água",
    "vento",
    "terra",
    "flor",
]


async def exchanges(
    talk: Conversation, text: Callable[[int], str], pause: Callable[[int], float], most: int = 40
) -> int:
    """After how many exchanges it was taken for a loop; 0: it was not."""
    for number in range(most):
        if (await talk.maria_writes(text(number)))["decision"] == "loop":
            return number
        turn = await talk.claim_one()  # eleven seconds
        await talk.save(turn, "Como posso ajudar?")
        begun = await talk.begin(turn, "Como posso ajudar?")
        await talk.finish(turn, begun, f"3EB0B{number:07X}")
        await talk.travel(seconds=pause(number))
    return 0


def varied(chance: random.Random) -> str:
    return " ".join(chance.sample(WORDS, 9))


@pytest.mark.parametrize(
    "form",
    [
        "Claro! {0}. Posso ajudar em algo mais?",
        "{0}\nDigite 1 para voltar ao menu",
        "Olá, sou a assistente virtual! {0}",
    ],
)
async def test_a_sentence_that_comes_again_and_again_shows_it(talk: Conversation, form: str):
    chance = random.Random(7)
    uneven = itertools.cycle([14, 5, 33, 61, 20])
    after = await exchanges(talk, lambda _: form.format(varied(chance)), lambda _: next(uneven))
    assert after == 18
    assert (await talk.session())["pause_source"] == "ai"


@pytest.mark.parametrize("seconds", [14, 50, 150])
async def test_so_does_an_answer_that_always_takes_as_long(talk: Conversation, seconds: int):
    chance = random.Random(7)
    jitter = random.Random(8)
    after = await exchanges(
        talk, lambda _: varied(chance), lambda _: seconds + jitter.uniform(-1, 1)
    )
    assert after == 18


async def test_a_person_who_has_much_to_ask_is_none(talk: Conversation):
    chance = random.Random(7)
    pauses = random.Random(9)
    after = await exchanges(
        talk,
        lambda _: f"E {varied(chance)}?",
        lambda _: 20 + min(pauses.lognormvariate(3, 0.8), 300),
    )
    assert after == 0


async def test_a_person_who_says_short_things_evenly_is_none(talk: Conversation):
    assert await exchanges(talk, lambda n: f"quero {n}", lambda _: 50) == 0


async def test_what_was_before_a_resume_does_not_count(talk: Conversation):
    chance = random.Random(7)
    await exchanges(talk, lambda _: varied(chance), lambda _: 50, most=17)
    await talk.sql("update sessions set resumed_at = hybridflow.clock()")
    assert await exchanges(talk, lambda _: varied(chance), lambda _: 50, most=10) == 0
