"""People whose program puts their name above each message are no bots for that."""

import itertools
import random

import pytest

from tests.state.conversation import Conversation
from tests.state.test_slow_bots import exchanges, varied


@pytest.mark.parametrize(
    "name", ["*Ana Souza da Loja:*", "*Ana Souza da Loja*:", " *Ana S. da Loja* "]
)
async def test_the_name_above_each_message_is_no_sentence(talk: Conversation, name: str):
    chance, pauses = random.Random(7), random.Random(9)
    after = await exchanges(
        talk,
        lambda _: f"{name}\nE {varied(chance)}?",
        lambda _: 20 + min(pauses.lognormvariate(3, 0.8), 300),
        most=22,
    )
    assert after == 0


async def test_a_bot_with_a_name_is_one_all_the_same(talk: Conversation):
    chance = random.Random(7)
    uneven = itertools.cycle([14, 5, 33, 61, 20])
    after = await exchanges(
        talk,
        lambda _: f"*Bot da Loja:*\n{varied(chance)}. Posso ajudar em algo mais?",
        lambda _: next(uneven),
    )
    assert after == 18
