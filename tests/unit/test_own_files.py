"""The business's own files in a reply: named ones are sent, and no mark is ever read."""

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.replies.forgeries import disarm
from router.replies.making import Part
from router.state.calls.claimed_turn import OwnFile
from router.turns.own_files import with_files
from router.whatsapp.file_types import type_of_file

MENU = OwnFile(name="menu", description="The menu", kind="image", file_name="menu.jpg")
HI = OwnFile(name="hi", description="A cake that waves", kind="sticker", file_name="hi.webp")
MENU_PART = {
    "path": "message/sendMedia",
    "body": {"mediatype": "image", "media": "own-file:menu", "fileName": "menu.jpg"},
}
HI_PART = {"path": "message/sendSticker", "body": {"sticker": "own-file:hi"}}


def test_a_named_file_is_sent_where_it_is_named():
    said = with_files(("Veja!\n\n[[image:menu]]\n\nQual?",), (MENU, HI))
    assert said == ("Veja!", MENU_PART, "Qual?")


@pytest.mark.parametrize(
    "mark",
    [
        *("[[image:menu]]", "[[ Image : MENU ]]", "[[file:menu]]", "[[img: Menú.jpg]]"),
        *('[[image:"menu"]]', "[[send_file:menu]]", "**[[image:menu]]**"),
    ],
)
def test_it_is_known_however_it_is_written(mark: str):
    assert with_files((mark,), (MENU,)) == (MENU_PART,)


def test_a_picture_for_a_sticker_is_one_and_each_is_sent_once():
    assert with_files(("[[image:hi]] [[sticker:hi]]",), (MENU, HI)) == (HI_PART,)


@pytest.mark.parametrize(
    "mark",
    [
        *("[[image:secret]]", "[[image:]]", "[[imagem:x y]]", "[[image:../etc]]", "[[foto:x]]"),
        *("[[image:[[image:x]]]]", "[[image:[[image:x]]menu", "[[ima[[image:x]]ge:x]]"),
        *("[[image:", "[[file: [[file:", "[[image:x]] [[image:y]]", "[[image:" * 400 + "]]" * 400),
    ],
)
def test_a_name_that_there_is_not_is_shown_to_nobody_and_all_else_is(mark: str):
    (said,) = with_files((f"Oi {mark} Maria, tudo bem?",), (MENU,))
    assert isinstance(said, str)
    assert said.startswith("Oi ")
    assert said.endswith(" Maria, tudo bem?")
    assert "image:" not in said
    assert "[[" not in said.replace("[[ima", "")
    assert with_files(("[[image:none]]",), ()) == ()


def test_of_very_many_in_one_another_none_is_left_after_a_few_looks():
    many = "[[image:" * 4000 + "]]" * 4000
    assert with_files((f"Oi {many} Maria",), (MENU,)) == ("Oi Maria",)


def test_the_text_around_an_unknown_name_is_as_if_it_had_not_been_there():
    text = "Veja [[image:none]].\n\n[[image:none]]\n\nQual você quer?"
    assert with_files((text,), (MENU,)) == ("Veja.\n\nQual você quer?",)
    assert with_files(("se[[image:none]]nha",), ()) == ("se nha",)  # the guard saw no such word


@pytest.mark.parametrize(
    "text",
    [
        "[document: contrato.pdf] está assinado",
        "O recibo [image: nota 12] chegou",
        "[[menu]] e [[nota: 1]]",
        "matriz[[0]] = a[b[1]]",
        "> [image:menu]\nisso aqui",
    ],
)
def test_what_stands_in_one_bracket_is_a_text_whoever_has_such_a_file(text: str):
    assert with_files((text,), (MENU,)) == (text,)


def test_no_quotation_mark_or_bullet_is_sent_for_itself():
    assert with_files(('Veja:\n"[[image:menu]]"\n- [[sticker:hi]]\n👍',), (MENU, HI)) == (
        *("Veja:", MENU_PART),
        *(HI_PART, "👍"),
    )
    assert with_files(("[[image:[[image:menu]]]] Oi",), (MENU,)) == (MENU_PART, "Oi")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Veja **o menu** *[[image:menu]]* ok?", ("Veja **o menu** ok?", MENU_PART)),
        ("Veja `[[image:menu]]`!", ("Veja!", MENU_PART)),
        ("*Veja o menu [[image:menu]]*", ("*Veja o menu*", MENU_PART)),
        ("O menu ([[image:menu]]) tem tudo.", ("O menu tem tudo.", MENU_PART)),
        ("Aqui está: [[image:menu]] Qual você quer?", ("Aqui está:", MENU_PART, "Qual você quer?")),
        ("Oi! [[image:menu]] [[sticker:hi]] Qual?", ("Oi!", MENU_PART, HI_PART, "Qual?")),
        ("Veja:\n```\n[[image:menu]]\n```\nOk?", ("Veja:", MENU_PART, "Ok?")),
        (
            "```\na = 1\n[[image:menu]]\nb = 2\n```\nOk?",
            ("```\na = 1\nb = 2\n```", MENU_PART, "Ok?"),
        ),
        (
            "*Bolo | Foto*\ncenoura | [[image:menu]]\nfubá | não há\n\nQual?",
            ("*Bolo | Foto*\ncenoura\nfubá | não há", MENU_PART, "Qual?"),
        ),
        (
            "1. Bolo [[image:menu]]\n2. Torta\n[[sticker:hi]]\n3. Pão",
            ("1. Bolo", MENU_PART, "2. Torta", HI_PART, "3. Pão"),
        ),
        (
            "1. [[image:menu]] Bolo\n- **Pão:** [[sticker:hi]] Feito hoje",
            ("1. Bolo", MENU_PART, "- **Pão:** Feito hoje", HI_PART),
        ),
        ("Veja **o menu: [[image:menu]]**", ("Veja **o menu:**", MENU_PART)),
        ("**Cardápio: [[image:menu]] Hoje**", ("**Cardápio: Hoje**", MENU_PART)),
        ("**[[image:menu]] Cardápio**", ("**Cardápio**", MENU_PART)),
        # What models write around it besides.
        ("Veja:\n\n![Menu]([[image:menu]])\n\nOk?", ("Veja:", MENU_PART, "Ok?")),
        ("[Veja o menu]( [[image:menu]] )", ("Veja o menu", MENU_PART)),
        ("![[image:menu]]\n### [[sticker:hi]]\nOi![[image:none]]", (MENU_PART, HI_PART, "Oi!")),
        ("1. [[image:menu]]\n```json\n[[sticker:hi]]\n```\nOk", (MENU_PART, HI_PART, "Ok")),
        (
            "Olá\n\\[\\[image:menu\\]\\]\n~~~\n[[sticker:hi]]\n~~~\nOk",
            ("Olá", MENU_PART, HI_PART, "Ok"),
        ),
        ("“O menu [[image:menu]]”", ("“O menu”", MENU_PART)),
        ("A *[[image:none]] b*", ("A *b*",)),
        (
            "```pix1```\n[[image:menu]]\n```pix2```",
            ("```pix1```", MENU_PART, "```pix2```"),
        ),
    ],
)
def test_no_sentence_row_or_block_is_divided_and_no_sign_is_left(text: str, said: tuple[Part, ...]):
    assert with_files((text,), (MENU, HI)) == said


def test_what_is_no_text_stays_as_it_is():
    handoff = {"handoff": {"reason": "x"}}
    assert with_files(("Oi", handoff), (MENU,)) == ("Oi", handoff)


def test_a_handoff_keeps_its_words_without_the_marks():
    handoff = {"handoff": {"reason": "other"}}
    assert with_files(({**handoff, "text": "Já chamo! [[image:menu]]"},), (MENU,)) == (
        MENU_PART,
        {**handoff, "text": "Já chamo!"},
    )
    assert with_files(({**handoff, "text": "[[image:none]]"},), (MENU,)) == (handoff,)


def test_a_caption_keeps_no_mark_either():
    photo = {"mediatype": "image", "media": "x"}

    def captioned(caption: str) -> Part:
        return {"path": "message/sendMedia", "body": {**photo, "caption": caption}}

    assert with_files((captioned("Um bolo [[image:none]]!"),), (MENU,)) == (captioned("Um bolo!"),)
    assert with_files((captioned("[[image:menu]]"),), (MENU,)) == (
        {"path": "message/sendMedia", "body": photo},
        MENU_PART,
    )


def test_a_customers_mark_is_none():
    assert "[[" not in disarm("me manda [[image:menu]] e [[ image: x]]")


@given(st.lists(st.sampled_from(["[[image:menu]]", "[[image:x", "oi", "\n", "]]", "[[", "image:"])))
def test_no_whole_mark_is_left(pieces: list[str]):
    for part in with_files(("".join(pieces),), (MENU,)):
        if isinstance(part, str):
            assert "[[image:menu]]" not in part


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xd8\xff\xe0 jpeg", "image"),
        (b"\x89PNG\r\n\x1a\n....", "image"),
        (b"RIFF1234WEBPVP8 ", "sticker"),
        (b"%PDF-1.7", "document"),
        (b"\0\0\0\x18ftypmp42", "video"),
        (b"\0\0\0\x18ftypM4A ", "audio"),
        (b"ID3\x04", "audio"),
        (b"OggS\0", "audio"),
    ],
)
def test_what_a_file_is_is_told_by_its_content(content: bytes, kind: str):
    found = type_of_file(content)
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize("content", [b"", b"<svg/>", b"MZ\x90", b"PK\x03\x04", b"GIF89a"])
def test_what_is_not_sent_is_none(content: bytes):
    assert type_of_file(content) is None


def test_what_a_handoff_says_keeps_no_mark_and_its_files_come_first():
    handoff = {"handoff": {"reason": "other"}}
    told = {**handoff, "text": "Vou chamar alguém. [[image:menu]] [[image:nothing]]"}
    said = with_files((told,), (MENU,))
    assert said == (MENU_PART, {**handoff, "text": "Vou chamar alguém."})
    assert with_files(({**handoff, "text": "[[image:nothing]]"},), (MENU,)) == (handoff,)


@pytest.mark.parametrize(
    "text", ["[image:" + " " * 3000, "[image: a" + " " * 3000, " " * 9000 + "x", "[" * 9000]
)
def test_white_space_is_looked_through_once(text: str):
    began = process_time()
    with_files((text,), (MENU,))
    assert process_time() - began < 2
