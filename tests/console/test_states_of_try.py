"""The page of the demo in each state that it can have, told to it by the test."""

import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import product
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from playwright.async_api import Error, Page, Route, expect

from tests.console.conftest import NARROW, WIDE, Opens, Seen
from tests.console.npm import axe_findings
from tests.routers import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")
HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script>" + "w" * 200 + "\u202e\u0000&lt;b&gt;"
)


def _steps(*marks: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "mark": mark, "seconds": None if mark in ("now", "todo") else 1.5,
         "reason": "takeover" if mark == "shut" else None}
        for name, mark in marks
    ]  # fmt: skip


def _shown(turn: int, steps: list[dict[str, Any]], **more: object) -> dict[str, Any]:
    return {
        "instance": "demo",
        "llm_is_played": True,
        "transcript": [
            {
                "wa_id": "1",
                "author": "customer",
                "text": "Hi! Are you open on Sunday?",
                "at": 1795000000.0,
            },
            {
                "wa_id": "2",
                "author": "api",
                "text": "Yes, on Sundays from 7 am to 1 pm.",
                "at": 1795000000.0,
            },
            {"wa_id": "3", "author": "customer", "text": HOSTILE, "at": 1795000000.0},
            {"wa_id": "4", "author": "owner", "text": HOSTILE, "at": 1795000000.0},
        ],
        "turn": turn,
        "attempt": 2,
        "handler": "fallback",
        "waits_for": None,
        "steps": steps,
        "seconds": 4.0,
        "is_paused": False,
        "is_called": False,
        "pause_ends_at": None,
        **more,
    }


_PHONE_IS_ABOVE = """() => {
    const top = (place) => place.getBoundingClientRect().top;
    const phones = [...document.querySelectorAll(".phone")].filter((each) => each.offsetHeight);
    return phones.length === 1 && top(phones[0]) < top(document.querySelector(".story"));
}"""
_LOOKS_AGAIN = "document.dispatchEvent(new Event('visibilitychange'))"
_IS_HIDDEN = """(isHidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
OWNERS = {"wa_id": "9", "author": "owner", "text": "Ana here", "at": 1795000000.0}
_DONE = [(name, "done") for name in ("received", "judged", "waited")]
STATES: Mapping[str, dict[str, Any]] = {
    "under way": _shown(71, _steps(*_DONE, ("writes", "now"), ("fence", "todo"), ("sent", "todo"))),
    "the AI is away": _shown(
        75, _steps(*_DONE, ("writes", "now"), ("fence", "todo"), ("sent", "todo")), waits_for="llm"
    ),
    "the AI refuses for good": _shown(
        78,
        [
            *_steps(*_DONE, ("began", "done")),
            {
                "name": "ended",
                "mark": "shut",
                "seconds": 2.2,
                "reason": None,
                "error": "LlmMisconfigured: anthropic answered 404: model: " + "x" * 90,
            },
        ],
    ),
    "sent": _shown(72, _steps(*_DONE, ("writes", "done"), ("fence", "done"), ("sent", "done"))),
    "stopped by the owner": _shown(
        73,
        _steps(*_DONE, ("began", "done"), ("human", "human"), ("fence", "shut")),
        is_paused=True,
        pause_ends_at="2026-11-26T16:20:00Z",
    ),
    "sent, and its answer lost": _shown(
        76,
        [
            *_steps(*_DONE, ("writes", "done"), ("fence", "done")),
            {"name": "sent", "mark": "done", "seconds": 1.5, "reason": "in_doubt"},
        ],
    ),
    "a human is called": _shown(
        77,
        _steps(*_DONE, ("writes", "done"), ("fence", "done"), ("sent", "done")),
        is_paused=True,
        is_called=True,
    ),
    "not answered, with a real model": _shown(
        74, _steps(("received", "done"), ("judged", "shut")), is_paused=True, llm_is_played=False
    ),
}


async def _told(seen: Seen, state: Mapping[str, Any]) -> Page:
    """Have the page shown this state from now on."""

    async def answer(route: Any) -> None:
        await route.fulfill(body=json.dumps(state), content_type="application/json")

    await seen.page.route("**/try/state", answer)
    await seen.page.evaluate(_LOOKS_AGAIN)
    about = seen.page.locator(".story header span", has_text=str(state["turn"]))
    await about.wait_for()
    await seen.page.locator(".phone.shop .bub.own").wait_for(state="attached")
    return seen.page


async def test_the_page_asks_again_when_the_stream_says_so_and_not_before(
    opens: Opens, database_url: str
):
    async with opens("/try") as seen:
        page = seen.page
        await page.locator(".story").wait_for()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        connection = await asyncpg.connect(database_url)
        async with page.expect_response("**/try/state"):
            await connection.execute("update tenants set updated_at = clock_timestamp()")
        await connection.close()
        assert asked == [f"{seen.url}/try/state"]
        assert await seen.faults() == []


async def test_once_there_is_a_real_business_the_page_goes_where_that_is_to_be_seen(opens: Opens):
    async with opens("/try") as seen:
        page = await _told(seen, STATES["sent"])
        went: list[str] = []
        page.on("framenavigated", lambda frame: went.append(frame.url))
        await page.route("**/try/state", _answers(404))  # its business is gone, its router not yet
        for _ in range(3):
            async with page.expect_response("**/try"):
                await page.evaluate(_LOOKS_AGAIN)
        assert went == []
        leads = {"Location": "/console"}
        await page.route(f"{seen.url}/try", _answers(307, leads))
        await page.route(f"{seen.url}/", _answers(307, leads))
        with suppress(Error):  # it may have looked by itself, and be on its way
            await page.evaluate(_LOOKS_AGAIN)
        await page.get_by_label("Your key").wait_for()


def _answers(status: int, headers: Mapping[str, str] | None = None) -> Any:
    async def answer(route: Any) -> None:
        await route.fulfill(status=status, headers=dict(headers or {}), body="{}")

    return answer


async def test_what_is_to_be_typed_for_a_real_number_is_what_the_guide_says(opens: Opens):
    async with opens("/try") as seen:
        page = await _told(seen, STATES["sent"])
        typed = await page.text_content(".connect pre") or ""
        assert "ANTHROPIC_API_KEY" in (await page.text_content(".connect") or "")
        await _told(seen, STATES["not answered, with a real model"])  # there is a key already
        assert "ANTHROPIC_API_KEY" not in (await page.text_content(".connect") or "")
    guide = (ROOT / "README.md").read_text()
    in_one_line = [" ".join(text.replace("\\\n", " ").split()) for text in (typed, guide)]
    assert "scripts.tenant connect" in in_one_line[0]
    assert in_one_line[0] in in_one_line[1]


async def test_a_long_conversation_makes_the_page_no_longer(opens: Opens):
    async with opens("/try", width=NARROW) as seen:
        tall = "document.documentElement.scrollHeight"
        page = await _told(seen, STATES["sent"])
        before = await page.evaluate(tall)
        said: list[dict[str, Any]] = STATES["sent"]["transcript"]
        more = [*({**said[0], "wa_id": f"m{number}"} for number in range(60)), *said]
        await _told(seen, {**STATES["a human is called"], "transcript": more})
        await _told(seen, {**STATES["sent"], "transcript": more})
        assert await page.evaluate(tall) == before


async def test_what_is_sent_is_shown_at_once_and_leaves_once_and_the_draft_stays(opens: Opens):
    async with opens("/try") as seen:
        page = await _told(seen, STATES["sent"])
        held: list[Route] = []

        async def hold(route: Route) -> None:
            held.append(route)

        await page.route("**/try/customer?*", hold)
        field, going = page.get_by_label("Write as the customer"), page.locator(".bub.going")
        await field.fill("Do you have rye?")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Enter")  # nobody knows yet whether the first one was heard
        await expect(going).to_contain_text("Do you have rye?")
        await field.fill("And")
        hint = page.get_by_role("button", name="Do you have something without milk?")
        await hint.click()
        await expect(going).to_have_count(2)
        await expect(hint).to_have_count(0)
        assert [parse_qs(urlsplit(each.request.url).query)["text"] for each in held] == [
            ["Do you have rye?"], ["Do you have something without milk?"]
        ]  # fmt: skip
        first, second = held
        came = {"wa_id": "5", "author": "customer", "text": "Do you have rye?", "at": 1795000000.0}
        said = [*STATES["sent"]["transcript"], came]
        await _told(seen, {**STATES["stopped by the owner"], "transcript": said})
        await expect(going).to_have_count(1)  # it is on the phone, whatever the answer says
        await first.fulfill(status=204)
        await second.abort()
        await expect(going).to_have_count(0)
        assert await field.input_value() == "And"
        await expect(page.get_by_role("alert")).to_contain_text("does not answer")


async def test_what_cannot_be_done_now_is_not_offered_and_what_fails_is_said(opens: Opens):
    async with opens("/try") as seen:
        page = await _told(seen, STATES["stopped by the owner"])
        kill = page.get_by_role("button", name="Kill the router")
        await expect(kill).to_be_enabled()
        await page.route("**/try/resume", lambda route: route.abort())
        await page.get_by_role("button", name="Return to AI").click()
        await expect(page.get_by_role("alert")).to_contain_text("does not answer")
        # A router that is away is not killed a second time, as it comes back.
        await page.route("**/try/stream", lambda route: route.abort())
        await page.evaluate(_IS_HIDDEN, True)
        await page.evaluate(_IS_HIDDEN, False)
        await expect(page.locator(".dare.away")).to_be_visible()
        await expect(kill).to_be_disabled()
        twice = page.get_by_role("button", name="Deliver it twice")
        await expect(twice).to_be_enabled()
        await _told(seen, {**STATES["stopped by the owner"], "transcript": [OWNERS]})
        await expect(twice).to_be_disabled()


async def test_a_message_that_did_not_leave_is_in_its_field_again(opens: Opens):
    async with opens("/try") as seen:
        page = await _told(seen, STATES["sent"])
        await page.route("**/try/owner?*", _answers(409))
        field = page.get_by_label("Write as Ana, the owner")
        await field.fill("One moment")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).not_to_be_empty()
        await expect(field).to_have_value("One moment")


async def test_what_a_break_or_a_call_for_a_human_came_to_is_said(opens: Opens):
    async with opens("/try") as seen:
        page = await _told(seen, STATES["the AI refuses for good"])
        assert "answered 404" in await page.inner_text(".steps .shut")
        assert "tried again" in await page.inner_text(".steps .shut")
        await _told(seen, STATES["the AI is away"])
        assert await page.locator(".typing").count() == 0
        page = await _told(seen, STATES["sent, and its answer lost"])
        assert "found on the phone" in await page.inner_text(".steps li:last-child")
        await _told(seen, STATES["a human is called"])
        assert "called Ana" in await page.inner_text(".dare")
        assert await page.get_by_role("button", name="Return to AI").is_visible()


async def test_a_log_goes_on_with_what_is_written_and_stays_where_it_is_read(opens: Opens):
    async with opens("/try", width=NARROW) as seen:
        page = await _told(seen, STATES["under way"])
        log = page.locator(".phone.cust .chat")
        left = "(log) => log.scrollHeight - log.scrollTop - log.clientHeight"
        said: list[dict[str, Any]] = STATES["sent"]["transcript"]
        more = [*said, *({**said[0], "wa_id": f"m{number}"} for number in range(20))]
        await _told(seen, {**STATES["sent"], "transcript": more})
        assert await log.evaluate(left) < 2
        await log.evaluate("(log) => { log.scrollTop = 100; }")
        await _told(seen, {**STATES["stopped by the owner"], "transcript": [*more, *more[:1]]})
        assert await log.evaluate("(log) => log.scrollTop") == 100


async def test_the_phone_that_was_not_in_sight_shows_its_end_too(opens: Opens):
    async with opens("/try", width=NARROW) as seen:
        said: list[dict[str, Any]] = STATES["sent"]["transcript"]
        more = [*said, *({**said[0], "wa_id": f"m{number}"} for number in range(20))]
        page = await _told(seen, {**STATES["sent"], "transcript": more})
        await page.locator("label[for=w2]").click()
        await page.wait_for_function(
            "() => { const log = document.querySelector('.phone.shop .chat');"
            " return log.scrollHeight - log.scrollTop - log.clientHeight < 2; }"
        )


async def test_what_was_said_before_is_in_the_language_that_is_chosen_now(opens: Opens):
    async with opens("/try") as seen:
        page = await _told(seen, STATES["sent"])
        await page.route("**/try/break/*", _answers(204))
        await page.get_by_role("button", name="Take the AI away").click()
        await expect(page.get_by_role("status")).to_contain_text("The AI refuses")
        await page.route("**/try/owner?*", lambda route: route.abort())
        await page.get_by_role("button", name="Ana here, one moment").click()
        await expect(page.get_by_role("alert")).to_contain_text("does not answer")
        await page.get_by_label("Language").select_option("pt-BR")
        await expect(page.get_by_role("status")).to_contain_text("A IA recusa")
        await expect(page.get_by_role("alert")).to_contain_text("n\u00e3o responde")


@pytest.mark.parametrize("language", ["en-US", "pt-BR", "es-MX"])
async def test_no_state_is_wider_than_a_small_phone_and_hostile_texts_stay_text(
    opens: Opens, language: str
):
    async with opens("/try", width=NARROW, language=language) as seen:
        for name, state in STATES.items():
            page = await _told(seen, state)
            for phone in ("w1", "w2"):
                await page.locator(f"label[for={phone}]").click()
                across = await page.evaluate("document.documentElement.scrollWidth")
                assert (name, phone, across) == (name, phone, NARROW)
                assert await page.evaluate(_PHONE_IS_ABOVE), (name, phone)
            assert await page.locator("main img, main script").count() == 0
            assert HOSTILE[:40] in await page.inner_text(".phone.shop .bub.own")
        assert await seen.faults() == []


@pytest.mark.n8n
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_in_any_state(opens: Opens, scheme: Any):
    for width, (name, state) in product((NARROW, WIDE), STATES.items()):
        async with opens("/try", width=width, scheme=scheme) as seen:
            assert (name, await axe_findings(await _told(seen, state))) == (name, [])


async def test_all_that_can_be_done_is_reached_with_the_keyboard_alone(opens: Opens):
    async with opens("/try") as seen:
        page = await _told(seen, STATES["stopped by the owner"])
        reached = []
        for _ in range(40):
            await page.keyboard.press("Tab")
            reached.append(
                await page.evaluate(
                    "() => { const e = document.activeElement;"
                    " return e.getAttribute('aria-label') || e.innerText || e.tagName; }"
                )
            )
            if reached[-1] == "BODY":
                break
        wanted = [
            *("Skip to the content", "HybridFlow", "Language", "Light or dark"),
            *("Connect a real number", "Messages on the customer\u2019s phone"),
            *("Write as the customer", "Send as the customer", "Return to AI"),
            "Let the pause run out",
            *("Messages on the owner\u2019s phone", "Write as Ana, the owner", "Send as the owner"),
            *("Kill the router", "Lose an answer of WhatsApp\u2019s", "Deliver it twice"),
        ]
        assert [each for each in reached if each in wanted][: len(wanted)] == wanted
