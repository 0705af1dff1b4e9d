"""The media of a reply's parts: fetched before the fence, counted, and the same message still."""

import base64
from collections.abc import Callable

import httpx
import pytest

from router.evolution.errors import MediaAway, MediaRefused
from router.http.bodies import Bodies, BodyLimits
from router.http.callers import Callers
from router.outbound.media import MediaSource
from router.sending.outcomes import SendFailed
from router.sending.outgoing import Outgoing
from router.senses.sounds import Sounds
from router.turns.media import PartMedia
from tests.fixtures.sends import SOUND

ADDRESS = "https://padaria.example/bolo.png"
PICTURE = Outgoing.of("message/sendMedia", {"mediatype": "image", "media": ADDRESS})


def media(answer: Callable[[httpx.Request], httpx.Response], held: int = 10_000) -> PartMedia:
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    limits = BodyLimits(held_bytes=held)
    return PartMedia(MediaSource(http, 1000), Bodies(limits, Callers(())), Sounds())


def there(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(b"a picture"))


def never(_: httpx.Request) -> httpx.Response:
    raise AssertionError("nothing is to be fetched")


async def test_what_is_at_an_address_is_sent_as_bytes_and_is_the_same_message():
    async with media(there).filled(PICTURE, 1) as ready:
        assert base64.b64decode(ready.body["media"]) == b"a picture"
        assert (ready.identity, ready.told_as) == (PICTURE.identity, PICTURE.told_as)


@pytest.mark.parametrize(
    "message",
    [
        Outgoing.plain("oi, veja https://padaria.example/"),
        Outgoing.of("message/sendSticker", {"sticker": "QUJD"}),
        Outgoing.of("message/sendWhatsAppAudio", {"audio": SOUND}),
    ],
)
async def test_what_has_no_address_stays_as_it_is(message: Outgoing):
    async with media(never).filled(message, 1) as ready:
        assert ready is message


@pytest.mark.parametrize(
    ("status", "cause"),
    [(404, MediaRefused), (410, MediaRefused), (302, MediaRefused), (503, MediaAway)],
)
async def test_where_nothing_is_to_be_had_it_says_whether_it_may_be_later(
    status: int, cause: type[Exception]
):
    with pytest.raises(SendFailed, match="the media of the flow's answer: ") as raised:
        async with media(lambda _: httpx.Response(status)).filled(PICTURE, 1):
            raise AssertionError("there is nothing to send")
    assert type(raised.value.cause) is cause


@pytest.mark.parametrize(
    "audio", ["QUJD", "https://padaria.example/a.ogg", "T2dnUwACAAAAAAAAAAA=", "===="]
)
async def test_of_what_is_no_sound_no_empty_voice_message_is_made(audio: str):
    voice = Outgoing.of("message/sendWhatsAppAudio", {"audio": audio})
    with pytest.raises(SendFailed, match="not a sound") as raised:
        async with media(there).filled(voice, 1):
            raise AssertionError("there is nothing to send")
    assert type(raised.value.cause) is MediaRefused


async def test_what_has_no_room_in_memory_is_sent_later():
    with pytest.raises(SendFailed) as raised:
        async with media(there, held=40).filled(PICTURE, 1):
            raise AssertionError("there is no room")
    assert raised.value.is_away


async def test_the_room_is_given_back():
    keeper = media(there, held=80)
    for _ in range(5):
        async with keeper.filled(PICTURE, 1):
            pass
