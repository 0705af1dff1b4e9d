"""T1 to T12: what HybridFlow does where Evolution's own bots fail. Each is a conversation."""

from loopback.evolution import contents
from tests.scenarios.stage import BOTH_HANDLERS, NAMED, Stage

pytestmark = BOTH_HANDLERS


async def test_t1_the_owner_writes_first_and_the_customer_answers(stage: Stage):
    await stage.shop.owner.writes(stage.maria, "Oi Maria, seu bolo está pronto!")
    await stage.maria.writes("que ótimo, já vou")
    await stage.turns_end()
    assert stage.maria.replies == []
    assert await stage.paused()


async def test_t2_the_owner_writes_during_the_llm_call(stage: Stage):
    gate = stage.llm.hold()
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await stage.shop.owner.writes(stage.maria, "tem sim, de cenoura")
    gate.open()
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("cancelled", "takeover")
    assert stage.maria.replies == []
    assert await stage.paused()


async def test_t2_the_owner_writes_after_the_reply_was_made_but_before_it_leaves(stage: Stage):
    first, second = "um " * 1000, "dois " * 500
    stage.llm.answers(f"{first}\n\n{second}")
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await stage.shop.owner.writes(stage.maria, "deixa comigo")
    gate.open()
    (turn,) = await stage.turns_end()
    assert stage.maria.replies == [first.strip()]
    assert (turn["state"], turn["incomplete"]) == ("sent", True)
    assert await stage.paused()


async def test_t3_the_owner_writes_while_nothing_happens(stage: Stage):
    await stage.maria.writes("oi")
    await stage.maria.answered()
    await stage.shop.owner.writes(stage.maria, "oi, aqui é o dono")
    assert await stage.paused()
    await stage.maria.writes("oi dono")
    await stage.turns_end()
    assert len(stage.maria.replies) == 1


async def test_t4_the_pause_runs_out_and_the_ai_is_back(stage: Stage):
    await stage.shop.owner.writes(stage.maria, "oi")
    await stage.time_passes(hours=1.9)
    assert (await stage.cron_runs())["resumed"] == 0
    await stage.time_passes(hours=0.2)
    assert (await stage.cron_runs())["resumed"] == 1
    await stage.maria.writes("tem pão?")
    await stage.maria.answered()


async def test_t4_what_was_asked_during_the_pause_is_answered_once_it_is_over(stage: Stage):
    await stage.shop.owner.writes(stage.maria, "oi, um instante")
    await stage.time_passes(hours=1.9)
    await stage.maria.writes("quanto custa o bolo?")
    await stage.turns_end()
    await stage.time_passes(hours=0.2)
    await stage.cron_runs()
    await stage.maria.answered()
    request = stage.llm.requests[-1]
    said = str(request.body["messages"])
    assert "quanto custa o bolo?" in said
    assert "written by a person of the team] oi, um instante" in said
    await stage.turns_end()
    assert len(stage.maria.replies) == 1


async def test_t5_the_owner_only_reacts(stage: Stage):
    asked = await stage.maria.writes("obrigada!")
    await stage.shop.owner.reacts(stage.maria, asked)
    await stage.maria.answered()
    assert not await stage.paused()


async def test_t6_the_owner_writes_inside_the_debounce(stage: Stage):
    await stage.maria.writes("tem bolo?")
    await stage.shop.owner.writes(stage.maria, "tem sim")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "cancelled"
    assert stage.maria.replies == []
    assert stage.llm.requests == []
    assert await stage.paused()


async def test_t7_three_quick_messages_get_one_reply(stage: Stage):
    for text in ("oi", "tem bolo?", "de cenoura?"):
        await stage.maria.writes(text)
    await stage.maria.answered()
    await stage.turns_end()
    assert len(stage.maria.replies) == 1
    (request,) = stage.llm.requests
    assert request.body["messages"][-1]["content"] == f"{NAMED}oi\ntem bolo?\nde cenoura?"


async def test_t8_two_quick_messages_during_a_reply_get_one_more_in_order(stage: Stage):
    stage.llm.answers("resposta um")
    stage.llm.answers("resposta dois")
    gate = stage.llm.hold()
    await stage.maria.writes("um")
    await gate.reached()
    await stage.maria.writes("dois")
    await stage.maria.writes("três")
    gate.open()
    assert await stage.maria.answered(2) == ["resposta um", "resposta dois"]
    await stage.turns_end()
    assert len(stage.llm.requests) == 2


async def test_t9_one_customer_at_two_businesses_is_never_mixed(stage: Stage):
    other = await stage.open_shop("farmacia")
    at_other = other.customer("5511955550001", name="Maria", lid="201955550001001")
    await stage.maria.writes("tem bolo?")
    await at_other.writes("tem dipirona?")
    await stage.maria.answered()
    await at_other.answered()
    for request in stage.llm.requests:
        said = str(request.body)
        assert ("bolo" in said) != ("dipirona" in said)
        assert ("padaria" in said) == ("bolo" in said)


async def test_t10_a_group_is_ignored_unless_the_tenant_says_otherwise(stage: Stage):
    group = stage.shop.group()
    delivery = await stage.maria.writes_in(group, "alguém aí?")
    assert delivery.answer["status"] == "ignored"
    assert delivery.answer["reason"] == "group"
    await stage.sql("update tenants set answer_groups = true")
    await stage.maria.writes_in(group, "e agora?")
    await group.answered()


async def test_t11_a_status_post_and_a_newsletter_are_ignored(stage: Stage):
    status = await stage.maria.posts_status("bom dia!")
    news = await stage.shop.posts_in_newsletter("novidades")
    assert (status.answer["status"], news.answer["status"]) == ("ignored", "ignored")
    assert await stage.sessions() == []
    assert stage.shop.calls("sendText") == []


async def test_t12_a_sticker_reaches_the_llm_as_what_it_is(stage: Stage):
    await stage.maria.sends(contents.sticker())
    await stage.maria.answered()
    assert stage.llm.requests[-1].body["messages"][-1]["content"] == f"{NAMED}[sticker]"


async def test_t12_a_tenant_may_leave_stickers_unanswered(stage: Stage):
    await stage.sql("update tenants set unanswered_kinds = '{sticker}'")
    await stage.maria.sends(contents.sticker())
    await stage.turns_end()
    assert stage.maria.replies == []
