"""A human is called, the customer told, and both happen or neither, by either handler."""

import pytest

from loopback.faults import wrong_answer
from loopback.replies import Reply, calls_tool
from router.notices.untaken import NOBODY_YET
from router.replies.handoffs import HANDOFF_MESSAGE
from tests.scenarios.stage import BOTH_HANDLERS, Stage

SAYS = "Sinto muito! A Ana já continua com você por aqui."


async def the_handoff(stage: Stage) -> dict[str, object]:
    (row,) = await stage.sql("select state, reason, why, summary, said, words from handoffs")
    return dict(row)


async def test_a_model_hands_over_by_its_tool(stage: Stage):
    stage.llm.answers(
        calls_tool("hand_over", reason="upset", summary="O bolo veio seco.", say=SAYS)
    )
    await stage.maria.writes("o bolo veio seco!!")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("sent", "handoff")
    assert stage.maria.replies == [SAYS]
    assert await the_handoff(stage) == {
        "state": "waiting", "reason": "upset", "why": None, "summary": "O bolo veio seco.",
        "said": SAYS, "words": "said",
    }  # fmt: skip
    assert await stage.paused()
    (notice,) = await stage.sql("select facts ->> 'summary' as summary from notices")
    assert notice["summary"] == "O bolo veio seco."


@pytest.mark.parametrize(
    ("reply", "said", "reason"),
    [
        (Reply("", "tool", "hand_over", {}), [HANDOFF_MESSAGE["pt"]], "other"),
        (
            Reply("Anotei o pedido.", "tool", "hand_over", {"reason": "??", "say": SAYS}),
            ["Anotei o pedido.", SAYS],
            "other",
        ),
        (
            calls_tool(
                "hand_over", saying="Vou chamar um atendente.", reason="not_known", say=SAYS
            ),
            [SAYS],
            "not_known",
        ),
    ],
)
async def test_whatever_it_gives_the_tool_a_human_is_called(
    stage: Stage, reply: Reply, said: list[str], reason: str
):
    stage.llm.answers(reply)
    await stage.maria.writes("vocês entregam em Marte?")
    await stage.turns_end()
    assert stage.maria.replies == said
    assert (await the_handoff(stage))["reason"] == reason


@BOTH_HANDLERS
async def test_a_reply_that_promises_a_human_calls_one(stage: Stage):
    stage.llm.answers("Claro! Vou te transferir para um atendente humano agora mesmo.")
    await stage.maria.writes("meu pedido não chegou")
    await stage.turns_end()
    assert stage.maria.replies == ["Claro! Vou te transferir para um atendente humano agora mesmo."]
    handoff = await the_handoff(stage)
    assert (handoff["state"], handoff["words"]) == ("waiting", "said")
    assert handoff["why"] == "the AI said that a person will come"
    assert await stage.paused()
    await stage.maria.writes("??")
    assert len(stage.llm.requests) == 1, "nobody but a human answers now"


async def test_a_reply_that_only_promises_to_answer_later_calls_one_who_does(stage: Stage):
    said = "Não tenho essa informação, mas vou verificar e já te retorno!"
    stage.llm.answers(said)
    await stage.maria.writes("vocês entregam em Niterói?")
    await stage.turns_end()
    assert stage.maria.replies == [said]
    handoff = await the_handoff(stage)
    assert (handoff["state"], handoff["words"]) == ("waiting", "said")
    assert handoff["why"] == "the AI said that it will find out and answer later"
    assert await stage.paused()


async def test_unless_the_tenant_wants_it_otherwise(stage: Stage):
    await stage.change(handoff_on_promise=False)
    stage.llm.answers("Vou te transferir para um atendente humano.")
    await stage.maria.writes("meu pedido não chegou")
    await stage.turns_end()
    assert not await stage.paused()
    assert await stage.sql("select id from handoffs") == []


@BOTH_HANDLERS
async def test_who_asks_for_a_human_gets_one_and_no_model_is_asked(stage: Stage):
    await stage.change(handoff_message="Chamo a Ana.")
    await stage.maria.writes("Quero falar com um atendente humano")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("sent", "handoff")
    assert stage.maria.replies == ["Chamo a Ana."]
    handoff = await the_handoff(stage)
    assert (handoff["reason"], handoff["summary"]) == (
        "asked_for_person", "Quero falar com um atendente humano",
    )  # fmt: skip
    assert stage.llm.requests == []
    assert await stage.paused()


@BOTH_HANDLERS
async def test_after_the_human_the_old_anger_is_history(stage: Stage):
    await stage.maria.writes("quero falar com o gerente!")
    await stage.turns_end()
    await stage.shop.owner.writes(stage.maria, "Oi Maria, é a Ana. Mando outro bolo amanhã.")
    await stage.database.call(
        "resume_session",
        {"tenant_id": stage.tenant_id, "session_id": 1, "source": "operator", "policy": {}},
    )
    assert [t["state"] for t in await stage.turns_end()] == ["sent"], "nothing is left to answer"
    stage.llm.answers("De cenoura!")
    await stage.maria.writes("de que sabor?")
    await stage.turns_end()
    assert stage.maria.replies[-1] == "De cenoura!"
    rows = await stage.sql("select state, taken_by from handoffs")
    assert rows == [{"state": "done", "taken_by": "owner"}]


NO = wrong_answer(400, {"status": 400, "error": "Bad Request", "response": {"message": ["no"]}})


@BOTH_HANDLERS
async def test_the_last_words_are_refused_and_the_handoff_stands(stage: Stage):
    await stage.change(notify_url=f"{stage.evolution.url}/nowhere")
    stage.shop.fail("sendText", NO)
    await stage.maria.writes("quero falar com um atendente")
    (turn,) = await stage.turns_end()
    assert (turn["state"], stage.maria.replies) == ("dead", [])
    handoff = await the_handoff(stage)
    assert (handoff["state"], handoff["words"]) == ("waiting", "not_said")
    assert await stage.paused()
    rows = await stage.sql("select facts ->> 'words' as words from notices where kind = 'handoff'")
    assert "not_said" in [row["words"] for row in rows]


async def test_evolution_is_away_and_the_words_are_said_when_it_is_back(stage: Stage):
    stage.shop.fail("sendText", wrong_answer(503, {}), times=2)
    await stage.maria.writes("quero falar com um atendente")
    await stage.until("select words from handoffs", lambda rows: rows == [{"words": "said"}])
    assert stage.maria.replies == [HANDOFF_MESSAGE["pt"]]
    assert (await the_handoff(stage))["state"] == "waiting"


async def test_a_human_at_the_same_instant_and_nothing_is_said(stage: Stage):
    gate = stage.llm.hold()
    stage.llm.answers(calls_tool("hand_over", reason="upset", summary="bolo", say=SAYS))
    await stage.maria.writes("o bolo veio seco!")
    await stage.llm.asked()
    await stage.shop.owner.writes(stage.maria, "Oi Maria, é a Ana")
    gate.open()
    await stage.turns_end()
    assert stage.maria.replies == []
    assert await stage.sql("select id from handoffs") == []


async def test_nobody_comes_and_in_the_end_the_ai_goes_on(stage: Stage):
    await stage.change(notify_number="5511955559999", notify_number_next="5511955558888")
    await stage.maria.writes("quero falar com um atendente")
    await stage.turns_end()
    await stage.maria.writes("alguém aí?")
    for step, did in enumerate(("people", "the next", "the customer"), start=1):
        await stage.time_passes(minutes=16)
        await stage.cron_runs()
        rows = await stage.sql("select step, state from handoffs")
        assert rows == [{"step": step, "state": "waiting"}], did
    await stage.turns_end()
    assert stage.maria.replies == [HANDOFF_MESSAGE["pt"], NOBODY_YET["pt"]]
    stage.llm.answers("Enquanto isso, posso ajudar?")
    await stage.time_passes(minutes=16)
    await stage.cron_runs()
    await stage.until("select state from handoffs", lambda rows: rows == [{"state": "expired"}])
    assert not await stage.paused()
    rows = await stage.sql("select facts -> 'waited_minutes' as m from notices order by id")
    assert len(rows) == 3
