"""Files as customers send them, and as attackers do; made here, so that each says what it is."""

import io
import math
import os
import struct
import zipfile
import zlib
from array import array
from functools import cache
from typing import Any

import av
import docx
import openpyxl
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()


def picture(kind: str = "JPEG", size: tuple[int, int] = (1600, 1200), **more: Any) -> bytes:
    kept = io.BytesIO()
    Image.new("RGB", size, "red").save(kept, kind, **more)
    return kept.getvalue()


def animated_sticker() -> bytes:
    frames = [Image.new("RGBA", (512, 512), colour) for colour in ("red", "lime", "blue", "white")]
    kept = io.BytesIO()
    frames[0].save(kept, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    return kept.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims to be so large, and is some bytes long."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checked

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def word(*paragraphs: str) -> bytes:
    document = docx.Document()
    for text in paragraphs:
        document.add_paragraph(text)
    table = document.add_table(1, 2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "bolo", "30"
    kept = io.BytesIO()
    document.save(kept)
    return kept.getvalue()


def excel(*rows: list[Any]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    kept = io.BytesIO()
    book.save(kept)
    return kept.getvalue()


@cache
def zip_bomb(member: str = "word/document.xml") -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(member, bytes(200_000_000))
    return kept.getvalue()


def zip_lie() -> bytes:
    """A document that says of its member that it is small, and unpacks to 200 MB."""
    bomb = bytearray(zip_bomb())
    for sign, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = bomb.index(sign) + offset
        bomb[at : at + 4] = struct.pack("<I", 1000)
    return bytes(bomb)


def pdf(pages: int = 1, text: str = "Pedido 42: dois bolos de chocolate") -> bytes:
    """A PDF with this text on each page; with an empty one, pages without any text."""
    return pdf_of(*[text] * pages)


def pdf_of(*pages: str | None, more: str = "") -> bytes:
    """A PDF of these texts; where one is empty the page is red, where it is None it is broken."""
    kids = " ".join(
        "999 0 R" if text is None else f"{4 + 2 * n} 0 R" for n, text in enumerate(pages)
    )
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        shown = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET" if text else "1 0 0 rg 50 50 500 700 re f"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R"
            f" >> >> /Contents {5 + 2 * number} 0 R >>"
        )
        objects.append(f"<< /Length {len(shown)} >>\nstream\n{shown}\nendstream")
    written, places = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(written))
        written += f"{number} 0 obj\n{body}\nendobj\n"
    at = len(written)
    written += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n"
    written += "".join(f"{place:010d} 00000 n \n" for place in places)
    size = len(objects) + 1
    written += f"trailer\n<< /Size {size} /Root 1 0 R {more}>>\nstartxref\n{at}\n%%EOF"
    return written.encode()


def locked_pdf() -> bytes:
    zeros = "00" * 32
    lock = f"<< /Filter /Standard /V 1 /R 2 /O <{zeros}> /U <{zeros}> /P -4 >>"
    return pdf_of("o saldo", more=f"/Encrypt {lock} /ID [<00> <00>] ")


def locked_office() -> bytes:
    """As far as it is looked at: what names the streams of such a file."""
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(900) + "EncryptedPackage".encode("utf-16-le")


def changed(document: bytes, member: str, old: bytes, new: bytes) -> bytes:
    """The document with a change in one of its members."""
    source, kept = zipfile.ZipFile(io.BytesIO(document)), io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            content = source.read(name)
            if name == member:
                assert old in content
                content = content.replace(old, new)
            archive.writestr(name, content)
    return kept.getvalue()


def renamed(document: bytes, member: str, new: str) -> bytes:
    """The document with another name of one of its members."""
    source, kept = zipfile.ZipFile(io.BytesIO(document)), io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(new if name == member else name, source.read(name))
    return kept.getvalue()


def word_with(xml: str) -> bytes:
    """A Word document that begins with this."""
    return changed(word("Fim"), "word/document.xml", b"<w:body>", b"<w:body>" + xml.encode())


def slides(*texts: str) -> bytes:
    kept = io.BytesIO()
    spaces = "xmlns:a='http://schemas.openxmlformats.org/drawingml/2006/main'"
    with zipfile.ZipFile(kept, "w") as archive:
        archive.writestr("ppt/presentation.xml", "<x/>")
        for number, text in enumerate(texts, 1):
            shown = f"<x {spaces}><a:p><a:r><a:t>{text}</a:t></a:r></a:p></x>"
            archive.writestr(f"ppt/slides/slide{number}.xml", shown)
    return kept.getvalue()


@cache
def sound(seconds: float = 1, *, kind: str = "ogg", loud: bool = True) -> bytes:
    """A tone, or silence, as a phone or a recorder would keep it."""
    codec, container = {
        "ogg": ("libopus", "ogg"),
        "mp3": ("libmp3lame", "mp3"),
        "m4a": ("aac", "mp4"),
        "wav": ("pcm_s16le", "wav"),
        "flac": ("flac", "flac"),
        "webm": ("libopus", "webm"),
    }[kind]
    kept = io.BytesIO()
    with av.open(kept, mode="w", format=container) as made:
        _tone(made, codec, seconds, loud=loud)
    return kept.getvalue()


def _tone(made: Any, codec: str, seconds: float, *, loud: bool) -> None:
    stream = made.add_stream(codec, rate=48_000)
    stream.layout = "mono"
    resampler = av.AudioResampler(format=stream.format, layout="mono", rate=48_000)
    height = 9000 if loud else 0
    step = 4800
    wave = array("h", (int(height * math.sin(at / 60 * math.tau)) for at in range(step))).tobytes()
    for _ in range(int(seconds * 10)):
        frame = av.AudioFrame(format="s16", layout="mono", samples=step)
        frame.sample_rate = 48_000
        frame.planes[0].update(wave)
        for each in resampler.resample(frame):
            made.mux(stream.encode(each))
    made.mux(stream.encode(None))


@cache
def video(frames: int = 12, *, with_sound: bool = True, noisy: bool = False) -> bytes:
    """A video of two colours, or of noise, which nothing makes smaller."""
    kept = io.BytesIO()
    with av.open(kept, mode="w", format="mp4") as made:
        stream = made.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        if noisy:
            stream.bit_rate = 100_000_000
        for number in range(frames):
            shown = "red" if number < frames // 3 else "blue"
            image = Image.new("RGB", (640, 480), shown)
            if noisy:
                image = Image.frombytes("RGB", (640, 480), os.urandom(640 * 480 * 3))
            made.mux(stream.encode(av.VideoFrame.from_image(image)))
        made.mux(stream.encode(None))
    if not with_sound:
        return kept.getvalue()
    return _with_sound(kept.getvalue(), frames / 12)


def _with_sound(silent: bytes, seconds: float) -> bytes:
    kept = io.BytesIO()
    with (
        av.open(io.BytesIO(silent)) as source,
        av.open(io.BytesIO(sound(seconds, kind="m4a"))) as heard,
        av.open(kept, mode="w", format="mp4") as made,
    ):
        streams = [
            (each, made.add_stream_from_template(each.streams[0])) for each in (source, heard)
        ]
        for each, stream in streams:
            for packet in each.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    made.mux(packet)
    return kept.getvalue()


def playlist() -> bytes:
    """What FFmpeg, left to guess, would take for a list of files to open."""
    return b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
