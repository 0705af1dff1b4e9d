"""An answer waits for all the pictures of an album, and not without end."""

from typing import Any

from tests.state.conversation import Conversation, answered

IMAGE = "[image]"


async def announces(talk: Conversation, pictures: int, **how: Any) -> dict[str, Any]:
    event = talk.message("[album]", kind="album", expects_reply=False, **how)
    return (await talk.ingest({**event, "pictures": pictures}))[0]


async def picture(talk: Conversation, kind: str = "image", **how: Any) -> dict[str, Any]:
    decision: dict[str, Any] = await talk.maria_writes(IMAGE, kind=kind, **how)
    assert decision["decision"] == "turn_pending"
    return decision


async def test_each_picture_waits_for_the_next_and_the_last_for_none(talk: Conversation):
    assert (await announces(talk, 4))["decision"] == "no_reply_needed"
    for kind in ("image", "video", "image"):
        assert round((await picture(talk, kind))["due_in"]) == 10
        await talk.travel(seconds=6)
        assert await talk.claim() == []
    assert round((await picture(talk))["due_in"]) == 2
    await talk.travel(seconds=3)
    (turn,) = await talk.claim()
    assert answered(turn) == [IMAGE] * 4


async def test_a_picture_that_never_comes_is_waited_for_ten_seconds(talk: Conversation):
    await announces(talk, 3)
    await picture(talk)
    await picture(talk)
    await talk.travel(seconds=11)
    assert answered((await talk.claim())[0]) == [IMAGE] * 2


async def test_pictures_that_come_one_by_one_are_waited_for_a_minute_in_all(talk: Conversation):
    await announces(talk, 100)
    waited = 0
    while waited < 100:
        await picture(talk)
        await talk.travel(seconds=8)
        waited += 8
        if await talk.claim():
            break
    assert 56 <= waited <= 72


async def test_an_announcement_among_its_pictures_counts_those_that_are_there(talk: Conversation):
    await picture(talk)
    await picture(talk)
    assert round((await announces(talk, 3, ago=2))["due_in"]) == 10
    await talk.travel(seconds=5)
    assert await talk.claim() == []
    assert round((await picture(talk))["due_in"]) == 2


async def test_an_album_that_is_whole_already_delays_nothing(talk: Conversation):
    await picture(talk)
    assert "due_in" not in await announces(talk, 1)
    await talk.travel(seconds=3)
    assert len(await talk.claim()) == 1


async def test_what_is_written_between_the_pictures_makes_it_no_shorter(talk: Conversation):
    await announces(talk, 2)
    await picture(talk)
    assert round((await talk.maria_writes("olha"))["due_in"]) == 10
    await talk.travel(seconds=5)
    assert await talk.claim() == []
    await picture(talk)
    await talk.travel(seconds=3)
    assert answered((await talk.claim())[0]) == [IMAGE, "olha", IMAGE]


async def test_one_that_is_announced_late_or_by_the_business_is_not_waited_for(
    talk: Conversation,
):
    await announces(talk, 5, ago=300)
    assert round((await picture(talk))["due_in"]) == 2
    await talk.answer()
    await announces(talk, 5, from_me=True, origin="upsert")
    assert (await talk.session())["awaited_until"] is None


async def test_a_picture_that_comes_twice_counts_once(talk: Conversation):
    await announces(talk, 2)
    event = talk.message(IMAGE, kind="image")
    await talk.ingest(event)
    await talk.ingest({**event, "key": f"{event['key']}:again"})
    assert (await talk.session())["awaited_pictures"] == 1


async def test_the_next_album_is_waited_for_as_the_first(talk: Conversation):
    for _ in range(2):
        await announces(talk, 2)
        assert round((await picture(talk))["due_in"]) == 10
        assert round((await picture(talk))["due_in"]) == 2
        await talk.answer()
