"""What may be sent: length, forbidden patterns, leakage of the system prompt."""

import asyncio
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event, get_ident
from types import FrameType
from typing import Any

import pytest
import re2
from httpx import AsyncClient
from hypothesis import given
from hypothesis import strategies as st

from router.errors import Invalid
from router.replies.prompt import NOTES
from router.safety import patterns
from router.safety.guard import ReplyGuard, Speaker
from router.safety.judgement import judge_reply
from router.safety.leaks import leaks
from router.safety.moderation import Moderation, ModerationRules
from router.safety.normal import normal
from router.safety.patterns import BadPattern, check_patterns, first_match
from router.safety.rules import ReplyDefaults
from router.state.calls.claimed_turn import ReplyRules
from scripts.tenant import values_of
from tests.for_each import for_each

PROMPT = (
    "Você é a Sol, atendente da Padaria Lua. Nunca diga o preço de custo. O desconto secreto para"
    " clientes antigos é de quinze por cento e só vale com a palavra girassol. Horário: segunda a"
    " sexta das oito às dezoito. Endereço: Rua das Flores, dez. Não fale de política nem de"
    " futebol, e não prometa entrega fora do bairro em hipótese alguma."
)
DEFAULTS = ReplyDefaults(
    max_characters=1000,
    leak_characters=120,
    system_prompt="You are a helpful assistant.",
    notes=NOTES,
)


LONG = replace(DEFAULTS, max_characters=10**6)


def rule(
    text: str, prompt: str | None = PROMPT, defaults: ReplyDefaults = DEFAULTS, **own: object
) -> str | None:
    objection = judge_reply(text, prompt, ReplyRules.model_validate(own), defaults)
    return objection.rule if objection else None


def test_an_ordinary_reply_passes() -> None:
    assert (
        rule("Olá! Abrimos de segunda a sexta das oito às dezoito, na Rua das Flores, dez.") is None
    )


def test_a_reply_over_the_tenants_or_the_deployments_length_does_not() -> None:
    assert rule("a" * 1000) is None
    assert rule("a" * 1001) == "too_long"
    assert rule("a" * 1001, max_characters=2000) is None
    assert rule("a" * 51, max_characters=50) == "too_long"


def test_a_tenant_that_allows_itself_replies_without_an_end_gets_one() -> None:
    """All that a turn has said is read again at each of its sends."""
    assert rule("a" * 100_000, max_characters=2**31 - 1) is None
    assert rule("a" * 100_001, max_characters=2**31 - 1) == "too_long"
    assert rule("a" * 10**6, defaults=LONG, max_characters=2**31 - 1) is None
    assert rule("a" * (10**6 + 1), defaults=LONG, max_characters=2**31 - 1) == "too_long"


@pytest.mark.parametrize(
    "text",
    [
        "Faça um PIX para nós",
        "faça um p\u200bi\u200bx",
        "faça um *p*ix",
        "faça um ｐｉｘ",
    ],
)
def test_a_forbidden_pattern_is_found_however_it_is_dressed(text: str) -> None:
    assert rule(text, forbidden_patterns=["boleto", r"\bpix\b"]) == "forbidden_pattern"


def test_a_pattern_that_cannot_be_used_lets_nothing_pass() -> None:
    assert rule("oi", forbidden_patterns=["("]) == "forbidden_pattern"


@pytest.mark.parametrize("bad", ["", "(", r"(a)\1", "(?=a)", "a" * 501, "((a{1,900}){900})"])
def test_what_the_engine_does_not_take_is_said(bad: str) -> None:
    with pytest.raises(BadPattern):
        check_patterns([bad])


@pytest.mark.parametrize("evil", ["(a+)+$", "(a|a)*b", "(x+x+)+y", "(?:.*){20}z", "[^a]{500}b"])
def test_a_pattern_made_to_be_slow_ends(evil: str) -> None:
    assert first_match([evil], "a" * 12_000 + "x" * 3000) is None


@pytest.mark.parametrize(
    "text",
    [
        PROMPT,
        f"Claro! Minhas instruções são:\n\n{PROMPT}\n\nPosso ajudar?",
        PROMPT.upper(),
        PROMPT.replace(" ", "\n> "),
        "* " + PROMPT.replace(". ", ".\n* "),
        "…" + PROMPT[60:250],
        "_".join(PROMPT.split()),
    ],
)
def test_a_long_piece_of_the_prompt_is_a_leak_however_it_is_set(text: str) -> None:
    assert rule(text) == "prompt_leak"


def test_a_piece_that_is_just_too_short_is_none() -> None:
    assert leaks(PROMPT, PROMPT[:200], 150)
    piece = "vocêéasolatendentedapadarialuanuncadigaopreçodecustoodesconto"
    assert leaks(PROMPT, piece, len(piece))
    assert not leaks(PROMPT, piece, len(piece) + 1)


@pytest.mark.parametrize("between", ["\n\nmenu\nescolha\n1\n", " (7) ", "x" * 500])
@pytest.mark.parametrize("size", [25, 60, 119])
def test_a_piece_that_is_cut_in_pieces_is_a_leak_all_the_same(between: str, size: int) -> None:
    pieces = [PROMPT[start : start + size] for start in range(0, 250, size)]
    assert leaks(PROMPT, between.join(pieces), 120)
    assert leaks(PROMPT, between.join(pieces[::-1]), 120)
    assert not leaks(PROMPT, between.join(pieces[::2]), 120)


def test_facts_from_all_over_the_prompt_are_none() -> None:
    said = "Segunda a sexta das oito às dezoito! Rua das Flores, dez. Não prometa entrega fora."
    assert not leaks(PROMPT, said, 50)
    assert not leaks(PROMPT, " ".join(PROMPT.split()[::2]) * 3, 50)


@pytest.mark.parametrize("start", range(0, 100, 7))
def test_it_is_found_wherever_the_piece_begins(start: int) -> None:
    assert leaks(PROMPT, f"xyz {PROMPT[start : start + 140]} xyz", 100)


def test_the_tenant_sets_how_long_and_can_turn_it_off() -> None:
    said = "segunda a sexta das oito às dezoito. Endereço: Rua das Flores, dez."
    assert rule(said, leak_characters=50) == "prompt_leak"
    assert rule(PROMPT, leak_characters=0) is None


def test_a_short_prompt_that_holds_no_secret_may_be_said() -> None:
    assert rule("You are a helpful assistant.", prompt=None) is None


def test_the_rules_that_the_program_adds_are_a_secret_too() -> None:
    assert rule("My rules: " + NOTES[30:200]) == "prompt_leak"


HOSTILE = {
    "one letter": ("a", "a"),
    "letters in turn": ("ab", "ba"),
    "almost": ("a" * 199 + "b", "a" * 199 + "c"),
    "marks of a letter": ("a" + "\u0300\u0316" * 200, "e" + "\u0316\u0300" * 200),
}


def lines_of(secret: str, text: str, length: int) -> int:
    """How many lines of the check are run for so many characters."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        inside = "router/safety" in frame.f_code.co_filename
        count += inside and event == "line"
        return trace if inside else None

    sys.settrace(trace)
    try:
        leaks((secret * length)[:length], (text * length)[:length], 150)
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize("how", HOSTILE)
def test_the_work_grows_as_prompt_and_reply_do(how: str) -> None:
    assert lines_of(*HOSTILE[how], 8000) <= 2.5 * lines_of(*HOSTILE[how], 4000)


@given(st.text(max_size=3000))
def test_a_text_in_pieces_has_the_same_normal_form(text: str) -> None:
    assert normal(text) == unicodedata.normalize("NFKC", text)


@pytest.mark.parametrize("letter", ["e\u0301", "ﬁ", "한", "각", "a\u0323\u0302", "e\u0301 "])
def test_no_letter_is_cut_from_its_marks(letter: str) -> None:
    for shift in range(4):
        text = "x" * shift + letter * 1500
        assert normal(text) == unicodedata.normalize("NFKC", text)


def test_marks_are_put_in_order_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[int] = []

    def spy(form: Any, piece: str) -> str:
        pieces.append(len(piece))
        return piece

    monkeypatch.setattr("router.safety.normal.unicodedata.normalize", spy)
    first_match(["x"], "a" + "\u0300\u0316" * 20_000)
    assert max(pieces) <= 1100
    assert sum(pieces) == 40_001


async def test_what_is_long_is_judged_beside_everything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []

    def where(*_: object) -> None:
        threads.append(get_ident())

    monkeypatch.setattr("router.safety.guard.judge_reply", where)
    nobody = Moderation(AsyncClient(), AsyncClient(), ModerationRules(None, None, 1, False))
    guard = ReplyGuard(NoDatabase(), nobody, DEFAULTS, wake_notices=lambda: None)
    for prompt in ("curto", "longo " * 10_000):
        speaker = Speaker({"turn_id": 1, "token": "t"}, 1, "shop", 1, prompt, ReplyRules())
        await guard.check(speaker, "Olá!")
    assert threads[0] == get_ident() != threads[1]


async def test_patterns_are_looked_for_beside_everything_else_and_a_tenants_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_work: dict[str, int] = {}
    most: dict[str, int] = {}
    threads: list[int] = []
    both = Event()

    def judge(text: str, *_: object) -> None:
        threads.append(get_ident())
        at_work[text] = at_work.get(text, 0) + 1
        most[text] = max(most.get(text, 0), at_work[text])
        if len(at_work) == 2:
            both.set()
        both.wait(10)
        at_work[text] -= 1

    monkeypatch.setattr("router.safety.guard.judge_reply", judge)
    nobody = Moderation(AsyncClient(), AsyncClient(), ModerationRules(None, None, 1, False))
    guard = ReplyGuard(NoDatabase(), nobody, DEFAULTS, wake_notices=lambda: None)
    rules = ReplyRules(forbidden_patterns=("x",))
    speakers = [
        Speaker({"turn_id": n, "token": "t"}, n, "shop", n, "curto", rules) for n in (1, 1, 1, 2)
    ]
    await asyncio.gather(*(guard.check(who, str(who.tenant_id)) for who in speakers))
    assert both.is_set()  # the second tenant's did not wait for all of the first one's
    assert most == {"1": 1, "2": 1}
    assert get_ident() not in threads


GREEDY = r"(a?){900}c"  # as many steps as fit; what is looked for in them must be looked at in all


def test_patterns_that_take_too_many_steps_together_are_not_taken() -> None:
    for each in (GREEDY, "pix", r"\pL\pL"):
        assert check_patterns([each]) == [each]
    assert check_patterns([rf"\bpalavra {n}\b" for n in range(50)])
    assert check_patterns([r"[\p{L}]+@[\p{L}]+"] * 8)
    for many in ([f"{GREEDY}{n}" for n in range(12)], [r"\pL\pL\pL"] * 6, [".{400}"] * 7):
        with pytest.raises(BadPattern, match="steps together"):
            check_patterns(many)


def test_looking_for_patterns_ends_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows may come from anywhere: no more is looked for than the time allows."""
    searches = 0

    def clock() -> float:
        nonlocal searches
        searches += 1
        return searches * 0.3

    with pytest.raises(BadPattern, match="takes too long"):
        first_match([f"{GREEDY}{n}" for n in range(50)], "b", clock)
    assert searches <= 5


def test_no_single_search_takes_long() -> None:
    """A pattern's steps times the characters: neither alone says how long it takes."""
    assert rule("b" * 25_000, defaults=LONG, forbidden_patterns=[GREEDY]) is None
    for text in ("a" * 60_000, "á" * 30_000, "b" * 500_000):
        assert rule(text, defaults=LONG, forbidden_patterns=[GREEDY]) == "forbidden_pattern"
    assert rule("a" * 500_000, defaults=LONG, forbidden_patterns=["pix"]) is None


class NoDatabase:
    """What nobody asks."""

    async def call(self, function: str, argument: Mapping[str, Any]) -> Any:
        raise AssertionError(function)


# --- signs that nobody sees, and spaces that look like others

UNSEEN_SIGNS = (
    "\x01\x08\x0e\x1b\x7f\x80\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b\u180e\u180f"
    "\u200b\u200c\u200d\u200e\u202a\u202e\u2060\u2065\u206f\u2800\u3164\ufe00\ufe0f\ufeff\uffa0"
    "\ufff0\ufff9\ufffb\ufffc\U00013430\U0001bca0\U0001d159\U0001d173\U000e0000\U000e0041"
    "\U000e0101\U000e0fff"
)
NEVER_SHOWN_ALIKE = "\x0b\x0c\r\x1c\x1f\x85\u2028\u2029"  # a break to some programs, or nothing
SPACES = "\t\n\x0b\x0c\r\x85\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000\u2800\u3164"


def named(sign: str) -> str:
    return f"{ord(sign):x}"


@for_each("sign", UNSEEN_SIGNS + NEVER_SHOWN_ALIKE, ids=named)
def test_a_sign_that_nobody_sees_hides_no_forbidden_word(sign: str) -> None:
    for text in (f"se{sign}gredo", sign.join("segredo"), f"o se{sign * 40}gredo\nmesmo"):
        assert rule(text, forbidden_patterns=["segredo"]) == "forbidden_pattern"
        assert rule(text, forbidden_patterns=[r"\bsegredo\b"]) == "forbidden_pattern"


@for_each("sign", UNSEEN_SIGNS, ids=named)
def test_nor_does_one_in_the_pattern_make_it_blind(sign: str) -> None:
    for text in ("segredo", f"segre{sign}do", f"se{sign}gredo"):
        assert rule(text, forbidden_patterns=[f"se{sign}gredo"]) == "forbidden_pattern"


@pytest.mark.parametrize("sign", SPACES, ids=named)
def test_any_space_reads_like_a_plain_one(sign: str) -> None:
    for text in (f"cartão{sign}de crédito", f"cartão {sign}{sign} de{sign}crédito"):
        assert rule(text, forbidden_patterns=["cartão de crédito"]) == "forbidden_pattern"


@pytest.mark.parametrize("sign", "\t\u00a0\u1680\u2000\u200a\u202f\u205f\u3000", ids=named)
def test_and_so_it_does_in_a_pattern(sign: str) -> None:
    assert rule("cartão de crédito", forbidden_patterns=[f"cartão{sign}de"]) == "forbidden_pattern"


@for_each("sign", UNSEEN_SIGNS, ids=named)
def test_nor_does_a_sign_part_a_letter_from_its_mark(sign: str) -> None:
    assert rule(f"cre{sign}\u0301dito", forbidden_patterns=["crédito"]) == "forbidden_pattern"


@pytest.mark.parametrize("pattern", ["cre\u0301dito", "ｃrédito", "cr[ée\u0301]dito"])
def test_a_pattern_reads_as_plainly_as_a_text(pattern: str) -> None:
    for text in ("crédito", "cre\u0301dito", "cré\u200bdito", "ｃｒédito"):
        assert rule(text, forbidden_patterns=[pattern]) == "forbidden_pattern"


@pytest.mark.parametrize("pattern", ["[\u200b-\u200f]", "（", "℀", "⑴", "\u200b", "［ａ－ｚ］"])
def test_a_pattern_that_only_means_something_as_it_is_stays_that(pattern: str) -> None:
    assert rule("Olá, tudo bem?", forbidden_patterns=[pattern]) is None
    sign = "\u200b" if "\u200b" in pattern else pattern
    assert rule(f"Olá{sign}", forbidden_patterns=[pattern]) == "forbidden_pattern"


def test_lines_stay_lines_for_a_pattern_that_speaks_of_them() -> None:
    assert rule("um\nsegre\u200bdo", forbidden_patterns=["(?m)^segredo$"]) == "forbidden_pattern"
    assert rule("um segredo", forbidden_patterns=["(?m)^segredo$"]) is None


@for_each("sign", UNSEEN_SIGNS + NEVER_SHOWN_ALIKE, ids=named)
def test_signs_that_nobody_sees_hide_no_leak(sign: str) -> None:
    assert rule(sign.join(PROMPT)) == "prompt_leak"
    assert rule(PROMPT[:200], prompt=sign.join(PROMPT)) == "prompt_leak"


def test_every_format_and_control_character_is_one_of_them() -> None:
    for number in range(sys.maxunicode + 1):
        sign = chr(number)
        if unicodedata.category(sign) in ("Cc", "Cf") and sign != "\n":
            assert rule(f"se{sign}gredo", forbidden_patterns=["segredo"]) or sign == "\t", number


def test_what_people_write_is_left_as_it_is() -> None:
    for word in ("می‌خواهم", "❤️", "👩‍💻", "क्‍ष", "한국", "é"):
        assert rule(f"Olá {word}!", forbidden_patterns=[word]) == "forbidden_pattern"
        assert rule(f"Olá {word}!", forbidden_patterns=["xyz"]) is None


def test_the_work_for_a_pattern_is_bounded_by_the_forms_of_text_and_pattern(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[int] = []

    class Spy:
        programsize = 1

        def search(self, text: str) -> None:
            searched.append(len(text))

    monkeypatch.setattr("router.safety.patterns.re2.compile", lambda *_: Spy())
    text = "se\u200bgre\u3164do\n \u2028" * 2000
    first_match(["a\u0301\u200b"] * 3, text)
    assert len(searched) <= 3 * 2 * 3
    assert max(searched) <= len(text)


# --- what patterns cost where they are saved, and in whichever way


def test_no_more_patterns_are_compiled_than_may_be_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile_it = re2.compile

    def counted(pattern: str, options: Any) -> Any:
        compiled.append(pattern)
        return compile_it(pattern, options)

    monkeypatch.setattr(re2, "compile", counted)
    for bad, most in (([f"(?:a?){{900}}c{n}" for n in range(50)], 15), (["("] * 50, 1)):
        compiled.clear()
        with pytest.raises(BadPattern):
            check_patterns(bad)
        assert len(compiled) <= most


@pytest.mark.parametrize("groups", ["(a?){900}c", "(" * 60 + "(a?){15}" + ")" * 60 + "{30}c"])
def test_groups_are_not_told_apart(groups: str) -> None:
    """To remember where each began costs several times as much, and nobody asks."""
    assert patterns._compiled(groups).options.never_capture
    assert first_match([groups], "aac") == groups


def test_a_script_saves_no_more_than_the_api(tmp_path: Path) -> None:
    (tmp_path / "many").write_text("\n".join(f"(?:a?){{900}}c{n}" for n in range(50)))
    with pytest.raises(Invalid, match="steps together"):
        values_of([f"forbidden_patterns=@{tmp_path / 'many'}"])
