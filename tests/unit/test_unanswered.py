"""What the health check says of customers who get no answer."""

from router.http.unanswered import judge_outages
from router.notices.outage_words import WHY
from router.notices.outages import say_answered_again, say_unanswered
from router.state.calls.health import OutageCounted
from router.state.calls.notices import OutageTold

BEGAN, ENDED = "2026-11-26T10:00:00+00:00", "2026-11-26T10:38:00+00:00"


def counted(cause: str, tenants: int, deployments: int) -> OutageCounted:
    return OutageCounted(cause=cause, tenants=tenants, deployments=deployments)


def outage(cause: str, **more: object) -> OutageTold:
    told = {"cause": cause, "began_at": BEGAN, "turns": 3, "unanswered": 0, "provider": "anthropic"}
    return OutageTold.model_validate(told | more)


def test_a_deployments_account_is_an_error_and_a_tenants_own_is_a_warning():
    assert judge_outages(()) is None
    ours = judge_outages((counted("account_empty", 2, 1),))
    theirs = judge_outages((counted("account_empty", 2, 0), counted("flow_failed", 1, 1)))
    assert ours is not None
    assert theirs is not None
    assert (ours.status, theirs.status) == ("error", "ok")
    assert "account_empty, 2 tenants" in ours.message
    assert theirs.message.startswith("warning: ")


def test_a_business_is_told_what_only_it_can_cure():
    own = say_unanswered("padaria", (outage("account_empty", has_own_key=True),))
    others = say_unanswered("padaria", (outage("account_empty"),))
    assert "The credit of your account at Anthropic is used up. Add credit there." in own
    assert "The people who run HybridFlow for you have to fix that" in others
    assert own.endswith("So far 3 answers are affected.")


def test_the_end_says_how_long_and_how_many():
    said = say_answered_again("padaria", (outage("llm_away", ended_at=ENDED, unanswered=2),))
    assert said == (
        "padaria answers its customers again.\n\n"
        "The AI at Anthropic has not answered for some minutes. That lasted 38 minutes. Of 3"
        " answers, 2 were not made: look at the chats of that time, and answer by hand."
    )


def test_what_concerns_one_conversation_is_no_outage_of_all():
    said = say_unanswered("padaria", (outage("in_doubt", turns=1),))
    assert said.startswith("padaria did not answer a customer.")


def test_a_conversation_that_got_no_answer_is_named_and_so_are_some_of_several():
    maria = {"name": "Maria", "jid": "5511955550001@s.whatsapp.net"}
    nobody = {"name": None, "jid": "99@lid"}
    one = say_unanswered("padaria", (outage("in_doubt", turns=1, who=[maria]),))
    assert one.endswith("So far one conversation is affected: Maria (5511955550001).")
    more = say_unanswered("padaria", (outage("in_doubt", who=[maria, nobody], others=True),), "pt")
    assert more.endswith("isso afeta 3 respostas: Maria (5511955550001), um cliente, …")


def test_each_cause_has_words_of_its_own():
    assert all(len(set(words.values())) == len(words) for words in WHY.values())
