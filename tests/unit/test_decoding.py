"""A stranger's file is opened in a program of its own: no crash, and no more than the limits."""

import asyncio
import base64
import io
import subprocess
import sys

import pytest
from PIL import Image

from router.senses import decoded_pictures, decoded_sound, decoded_written, decoding
from router.senses.decoding import As, Decoder, Opened
from router.senses.hearing import NotUnderstood
from router.senses.seeing import words_of
from tests import files
from tests.for_each import for_each


async def opened(content: bytes) -> Opened:
    return await Decoder().open(content, tenant=1)


async def refused(content: bytes) -> str:
    with pytest.raises(NotUnderstood) as told:
        await opened(content)
    assert told.value.final
    return str(told.value)


def look(jpeg: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(jpeg)))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert max(image.size) <= decoded_pictures.LONGEST_SIDE
    return image


def colour(image: Image.Image, left: int, top: int = 10) -> tuple[int, ...]:
    found = image.getpixel((left, top))
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF"])
async def test_a_picture_becomes_a_small_jpeg_whatever_it_was(kind: str):
    (jpeg,) = (await opened(files.picture(kind))).pictures
    assert look(jpeg).size == (1024, 768)


async def test_what_is_transparent_is_on_white_and_what_lies_stands_up():
    kept = io.BytesIO()
    Image.new("RGBA", (80, 40), (0, 0, 0, 0)).save(kept, "PNG")
    (jpeg,) = (await opened(kept.getvalue())).pictures
    assert look(jpeg).getpixel((5, 5)) == (255, 255, 255)
    turned = Image.Exif()
    turned[0x0112] = 6
    (jpeg,) = (await opened(files.picture(size=(80, 40), exif=turned))).pictures
    assert look(jpeg).size == (40, 80)
    assert not look(jpeg).getexif()


async def test_of_what_moves_two_frames_are_shown():
    (jpeg,) = (await opened(files.animated_sticker())).pictures
    image = look(jpeg)
    left, right = colour(image, 10), colour(image, image.width - 10)
    assert left[0] > 200 > 60 > left[2]
    assert right[2] > 200 > 60 > right[0]


async def test_a_pdfs_text_is_read_and_what_is_left_out_is_said():
    read = await opened(files.pdf(40))
    assert (read.pages, read.pages_read, read.pictures) == (40, 10, ())
    words = words_of(read)
    assert words is not None
    assert words.startswith("PDF, 40 pages, of which the first 10 were read: Pedido 42")


async def test_a_page_without_text_is_shown():
    read = await opened(files.pdf(101, text=""))
    assert len(read.pictures) == 3
    assert colour(look(read.pictures[0]), 400, 400)[0] > 200
    assert words_of(read) == (
        "PDF, 101 pages, of which the first 3 were read, without text that can be read, only to be"
        " seen"
    )


async def test_office_files_and_texts_are_read():
    read = await opened(files.word("Pedido 42", "dois bolos"))
    assert words_of(read) == "Word document: Pedido 42\ndois bolos\nbolo | 30"
    assert "bolo | 2 | 30.5" in str(words_of(await opened(files.excel(["bolo", 2, 30.5]))))
    assert words_of(await opened("item;preço\nbolo;30\n".encode())) == "text: item;preço\nbolo;30"
    long = await opened(files.word(*["muito texto " * 50] * 100))
    assert long.is_cut
    assert len(long.text or "") == decoded_written.MOST_CHARACTERS


T = "<w:p><w:r><w:t>{}</w:t></w:r></w:p>"
ROW = (
    "<w:tr><w:tc>"
    + T.format("nome")
    + "</w:tc><w:tc>"
    + T.format("Rua")
    + T.format("7</w:t><w:noBreakHyphen/><w:t>9")
    + "</w:tc></w:tr>"
)


@for_each(
    ("content", "read"),
    [
        # A CSV as Excel writes it, with or without a mark; signs that are joined; a hard space.
        (b"\xef\xbb\xbfbolo;30", "text: bolo;30"),
        ("bolo; preço 30 €; não".encode("cp1252") + b" " * 5000, "text: bolo; preço 30 €; não"),
        (b"a" * 5000 + "ão 30 €".encode("cp1252"), f"text: {'a' * 5000}ão 30 €"),
        (b"a" * 5000 + "ão €".encode() + b"\xff", f"text: {'a' * 5000}ão €\ufffd"),
        ("pão 42".encode("utf-16"), "text: pão 42"),
        ("família 👨‍👩‍👧\xa0oi".encode(), "text: família 👨‍👩‍👧\xa0oi"),
        # What a form asks for, a tracked change added and a text box says; of what was moved or
        # stands there twice, one.
        (
            files.word_with(
                f"<w:sdt><w:sdtContent>{T.format('CPF 123')}</w:sdtContent></w:sdt>"
                "<w:p><w:ins><w:r><w:t>dez</w:t></w:r></w:ins><w:del><w:r><w:delText>dois"
                "</w:delText></w:r></w:del><w:moveFrom><w:r><w:t>bolos</w:t></w:r></w:moveFrom>"
                f"<w:r><w:txbxContent>{T.format('na caixa')}</w:txbxContent></w:r></w:p>"
                f"<w:tbl>{ROW}</w:tbl>"
            ),
            "Word document: CPF 123\ndez\nna caixa\nnome | Rua 7-9\nFim\nbolo | 30",
        ),
        (files.slides("Preços", "Bolo 30"), "PowerPoint: Slide 1:\nPreços\nSlide 2:\nBolo 30"),
        # What is left out is said, whatever the file says of its size.
        (
            files.pdf_of("oi" * 10, "", None, *[""] * 3),
            f"PDF, 6 pages, pages 2, 4, 5 only to be seen, pages 3, 6 not read: {'oi' * 10}",
        ),
        (
            files.changed(
                files.excel([1], [2]), "xl/worksheets/sheet1.xml", b'r="2"', b'r="90000"'
            ),
            "Excel sheet, of which the rest is left out: Sheet Sheet:\n1",
        ),
        (files.locked_pdf(), "PDF, locked with a password, so that nobody could read it"),
        (
            files.locked_office(),
            "office document, locked with a password, so that nobody could read it",
        ),
    ],
)
async def test_what_people_have_is_read_and_what_is_left_out_is_said(content: bytes, read: str):
    assert words_of(await opened(content)) == read


async def test_of_a_long_sheet_the_rest_is_said_to_be_left_out():
    for rows in ([[n] for n in range(201)], [list(range(51))]):
        assert (await opened(files.excel(*rows))).is_cut
    assert not (await opened(files.excel(*[[n] for n in range(200)]))).is_cut


async def test_what_a_scanner_makes_is_not_white():
    kept = io.BytesIO()
    image = Image.new("I;16", (1200, 900), 4000)
    image.paste(20_000, (0, 0, 600, 900))
    image.save(kept, "PNG")
    (jpeg,) = (await opened(kept.getvalue())).pictures
    shown = look(jpeg)
    assert colour(shown, 10)[0] > 200 > 60 > colour(shown, 1000)[0]


async def test_a_table_that_claims_millions_of_columns_costs_no_more_than_it_has():
    cell = '<w:tc><w:tcPr><w:gridSpan w:val="100000000"/></w:tcPr>' + T.format("a") + "</w:tc>"
    read = await opened(files.word_with(f"<w:tbl><w:tr>{cell * 2}</w:tr></w:tbl>"))
    assert str(read.text).startswith("a | a\n")


async def test_of_a_row_without_an_end_no_more_is_read_than_is_told():
    row = "<w:tbl><w:tr>" + f"<w:tc>{T.format('abc')}</w:tc>" * 20_000
    read = await opened(files.word_with(row + "</broken>"))  # what stands behind it is not met
    assert str(read.text).startswith("abc | abc | abc")
    assert read.is_cut
    assert len(str(read.text)) == decoded_written.MOST_CHARACTERS


async def test_a_word_document_is_read_whose_text_has_a_number_as_word_online_writes_it():
    read = await opened(files.renamed(files.word("oi"), "word/document.xml", "word/document2.xml"))
    assert words_of(read) == "Word document: oi\nbolo | 30"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (files.png_of(30_000, 30_000), "too many pixels"),
        (files.png_of(9_000, 9_000), "too large"),
        (files.png_of(7_000, 7_000), "cannot be opened"),  # it has no such rows
        (files.zip_bomb(), "too large"),
        (files.zip_bomb("xl/workbook.xml"), "too large"),
        (files.zip_bomb("readme.txt"), "too large"),
        (files.picture()[:400], "cannot be opened"),
        (files.picture("HEIF")[:400], "cannot be opened"),
        (files.pdf()[:60], "cannot be opened"),
        (files.word("oi")[:900], "broken"),
        (b"PK\x03\x04" + bytes(100), "broken"),
        (b"%PDF-1.7 and no more", "cannot be opened"),
        (
            files.changed(
                files.word("a"),
                "word/document.xml",
                b"<w:document ",
                b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]><w:document ',
            ),
            "document type",
        ),
        (files.pdf_of(None, None), "none of its pages"),
        (b"MZ\x90\x00\x03" + bytes(500), "not of a known kind"),
        (b"", "not of a known kind"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>\x00", "not of a known kind"),
    ],
)
async def test_what_cannot_or_shall_not_be_opened_is_refused_in_words(content: bytes, why: str):
    assert why in await refused(content)


async def test_an_archive_that_lies_about_its_size_costs_no_more():
    assert await refused(files.zip_lie())


@pytest.mark.parametrize("kind", ["ogg", "mp3", "m4a", "wav", "flac", "webm"])
async def test_a_sound_is_made_anew_whatever_it_was(kind: str):
    heard = await Decoder().open(files.sound(2, kind=kind), "sound", tenant=1)
    assert heard.sound is not None
    assert heard.sound.startswith(b"OggS")
    assert heard.seconds == pytest.approx(2, abs=0.2)
    assert not heard.is_silent


async def test_silence_is_known():
    assert (await Decoder().open(files.sound(loud=False), "sound", tenant=1)).is_silent


async def test_a_broken_end_costs_nothing_of_what_came_before():
    whole = files.sound(3)
    heard = await Decoder().open(whole[: len(whole) // 2], "sound", tenant=1)
    assert 0.5 < heard.seconds < 2.5


def test_a_sound_has_an_end(monkeypatch):
    monkeypatch.setattr(decoded_sound, "MOST_SECONDS", 2)
    heard = decoded_sound.sound_in(files.sound(9))
    assert heard["is_cut"]
    assert heard["seconds"] == pytest.approx(2, abs=0.2)


async def test_a_video_has_frames_and_sound():
    seen = await Decoder().open(files.video(36), "video", tenant=1)
    assert len(seen.pictures) == 3
    first, last = colour(look(seen.pictures[0]), 100), colour(look(seen.pictures[2]), 100)
    assert first[0] > 200 > 90 > first[2]
    assert last[2] > 200 > 90 > last[0]
    assert seen.sound is not None
    silent = await Decoder().open(files.video(36, with_sound=False), "video", tenant=1)
    assert (len(silent.pictures), silent.sound) == (3, None)


async def test_a_heavy_video_is_opened_within_the_limits():
    heavy = files.video(60, noisy=True, with_sound=False)
    assert len(heavy) > 10_000_000
    assert (await Decoder().open(heavy, "video", tenant=1)).pictures


@pytest.mark.parametrize("way", ["sound", "video"])
@pytest.mark.parametrize(
    "content",
    [
        b"", b"MZ\x90\x00", files.playlist(), files.picture("PNG"), files.pdf(),
        b"OggS" + bytes(500),
        b"\x00\x00\x00\x20ftypisom" + bytes(500), b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(99),
    ],
)  # fmt: skip
async def test_what_is_no_sound_and_no_video_is_refused(content: bytes, way: As):
    with pytest.raises(NotUnderstood) as told:
        await Decoder().open(content, way, tenant=1)
    assert told.value.final


async def test_what_takes_too_long_is_ended():
    with pytest.raises(NotUnderstood, match="too long"):
        await Decoder(seconds=0.01).open(files.picture(), tenant=1)


async def test_no_tenant_has_both_places(monkeypatch: pytest.MonkeyPatch):
    begun: list[bytes] = []
    gate = asyncio.Event()

    async def ask(_: Decoder, content: bytes, __: As) -> bytes:
        begun.append(content)
        await gate.wait()
        return b'{"what": "text"}'

    monkeypatch.setattr(Decoder, "_ask", ask)
    decoder = Decoder()
    flood = [asyncio.create_task(decoder.open(b"a", tenant=1)) for _ in range(50)]
    await asyncio.sleep(0)
    other = asyncio.create_task(decoder.open(b"b", tenant=2))
    await asyncio.sleep(0)
    assert begun == [b"a", b"b"]
    gate.set()
    await asyncio.gather(*flood, other)
    assert len(begun) == 51


async def test_the_program_has_nothing_of_our_environment_and_its_end_is_told(
    monkeypatch, tmp_path
):
    spy = tmp_path / "decoder.py"
    spy.write_text(
        "import json, os; print(json.dumps({'what': 'x', 'text': str(dict(os.environ))}))"
    )
    monkeypatch.setenv("STT_API_KEY", "sk-secret")
    monkeypatch.setattr("router.senses.decoding._PROGRAM", spy)
    assert "sk-secret" not in str((await opened(b"x")).text)
    for text in (
        "import os; os.abort()",
        "print('no JSON')",
        "print('[]')",
        "print('x' * 9_000_000)",
    ):
        spy.write_text(text)
        await refused(b"x")


async def test_a_program_that_says_too_much_is_ended_however_much_is_unread(monkeypatch, tmp_path):
    """Asyncio saw no end of a program whose output was not read on, and its place was lost."""
    spy = tmp_path / "decoder.py"
    spy.write_text("print('x' * 9_000_000)")
    monkeypatch.setattr("router.senses.decoding._PROGRAM", spy)
    read = decoding._all_of

    async def late(program: asyncio.subprocess.Process) -> bytes:
        try:
            return await read(program)
        finally:
            await asyncio.sleep(0.2)  # more comes, until nothing more is taken

    monkeypatch.setattr(decoding, "_all_of", late)
    async with asyncio.timeout(20):
        await refused(b"x")


@pytest.mark.skipif(sys.platform != "linux", reason="only there the kernel is told")
def test_where_memory_runs_out_the_program_ends_first():
    """And not the router, whose memory is that of the same container."""
    asked = (
        "from router.senses import decoder; from pathlib import Path; decoder._limit();"
        " print(Path('/proc/self/oom_score_adj').read_text())"
    )
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True)
    assert told.stdout.strip() == b"1000"
