"""Two bots that talk to each other are noticed, paused and reported; people are not."""

import pytest

from tests.state.conversation import POLICY, Conversation

MENU = "Desculpe, não entendi. Digite 1 para vendas ou 2 para suporte. Protocolo {0}"


async def exchange(talk: Conversation, *texts: str) -> list[str]:
    """The contact writes, the AI answers, and so on; the decisions."""
    decisions = []
    for text in texts:
        decision = await talk.maria_writes(text)
        decisions.append(decision["decision"])
        if decision["decision"] == "turn_pending":
            await talk.answer("Como posso ajudar?")
            await talk.travel(seconds=len(decisions) % 3 * 8)  # nobody is as even as a clock
    return decisions


async def test_a_bot_that_says_the_same_again_and_again_is_paused_with_a_reason_and_reported(
    talk: Conversation,
):
    decisions = await exchange(talk, *(MENU.format(n) for n in range(9000, 9008)))
    assert decisions == [*["turn_pending"] * 6, "loop", "paused"]
    session = await talk.session()
    assert (session["is_paused"], session["pause_source"]) == (True, "ai")
    assert "two bots" in session["pause_reason"]
    (notice,) = await talk.sql("select * from notices")
    assert notice["kind"] == "handoff"
    assert "two bots" in notice["facts"]["reason"]


async def test_a_bot_that_alternates_between_two_texts_is_noticed(talk: Conversation):
    texts = ["Olá! Sou a assistente virtual da Loja Lua.", MENU.format(1)] * 4
    assert "loop" in await exchange(talk, *texts)


async def test_machines_that_never_repeat_themselves_are_noticed_by_their_rate(talk: Conversation):
    await talk.set_rule("loop_replies", 3)
    await talk.set_rule("debounce_seconds", 0)
    nouns = ["pão", "bolo", "doce", "torta", "café", "suco", "leite", "queijo", "mel", "nata"]
    nouns += ["ovo", "sal", "trigo", "uva", "figo"]
    texts = [f"conte tudo sobre {noun}, depois {noun * 2}, {noun * 3}!" for noun in nouns]
    assert await exchange(talk, *texts, "e agora, o que mais existe?") == [
        *["turn_pending"] * 15,
        "loop",
    ]


async def test_a_person_who_asks_different_things_quickly_is_not_a_machine(talk: Conversation):
    decisions = await exchange(
        talk,
        *("Bom dia, vocês têm bolo de cenoura?", "E quanto custa o inteiro?"),
        *("Dá para entregar no centro hoje?", "Pode ser depois das três da tarde?"),
        *("Aceitam cartão de débito na entrega?", "Então quero dois, por favor."),
        *("Meu endereço é Rua das Flores 10.", "Obrigada, até mais tarde!"),
    )
    assert set(decisions) == {"turn_pending"}


async def test_a_person_who_says_yes_many_times_is_not_a_machine(talk: Conversation):
    assert set(await exchange(talk, *["sim"] * 12)) == {"turn_pending"}


async def test_a_person_who_sends_voice_messages_is_not_a_machine(talk: Conversation):
    for _ in range(10):
        decision = await talk.maria_writes("[voice message, 7 seconds]", kind="ptt")
        assert decision["decision"] == "turn_pending"
        await talk.answer("Entendi!")


async def test_the_same_words_over_hours_are_no_loop(talk: Conversation):
    for _ in range(10):
        assert await exchange(talk, "qual é o cardápio de hoje?") == ["turn_pending"]
        await talk.travel(minutes=30)


async def test_after_a_resume_the_counting_begins_anew(talk: Conversation):
    await exchange(talk, *(MENU.format(n) for n in range(7)))
    session = await talk.session()
    await talk.database.call(
        "resume_session",
        {
            "tenant_id": session["tenant_id"],
            "session_id": session["id"],
            "source": "operator",
            "policy": POLICY,
        },
    )
    await talk.answer("voltei")
    assert await exchange(talk, *(MENU.format(n) for n in range(7))) == [
        *["turn_pending"] * 5,
        "loop",
        "paused",
    ]


async def test_a_tenant_can_turn_the_guard_off_or_tighten_it(talk: Conversation):
    await talk.set_rule("loop_replies", 0)
    assert set(await exchange(talk, *[MENU.format(1)] * 9)) == {"turn_pending"}
    await talk.travel(hours=1)
    await talk.set_rule("loop_replies", 2)
    assert await exchange(talk, *[MENU.format(1)] * 3) == ["turn_pending", "turn_pending", "loop"]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (MENU.format(1), MENU.format(22222), True),
        ("Opção inválida!", "opção  inválida", True),
        ("Quero um bolo de cenoura", "Quero um bolo de fubá", False),
        ("", "", True),
        ("", "oi", False),
        ("👍", "🙏", False),
    ],
)
async def test_texts_are_alike_when_they_have_nearly_the_same_words(
    talk: Conversation, one: str, other: str, alike: bool
):
    likeness = await talk.value(
        "select hybridflow.likeness_of("
        "hybridflow.words_of($1), hybridflow.words_of($2), $1::text = $2)",
        one,
        other,
    )
    assert (likeness >= 0.8) == alike


async def test_a_flood_is_recorded_and_not_answered(talk: Conversation):
    event = {**talk.message("mais uma"), "flood": True}
    (decision,) = await talk.ingest(event)
    assert decision["decision"] == "flood"
    assert await talk.turns() == []
    assert [body for _, body in await talk.sayings()] == ["mais uma"]
