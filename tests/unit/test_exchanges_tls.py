"""Over TLS an answer comes whole or is an error, and only who proves its name is asked."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from router.outbound.checked import CheckedTransport
from router.outbound.client import client_over
from router.outbound.trust import trusted
from router.outbound.unread import Unread
from tests.exchanges import (
    HERE,
    OK,
    Line,
    SecretLine,
    Talk,
    client,
    first,
    friendly,
    resolving,
    server,
)

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
LARGE = 4 * 1024 * 1024 - 1
BODY = bytes(range(251)) * (LARGE // 251 + 1)
# How long an answer is, and whether it is read slower than it comes.
READINGS = ((150_000, False), (150_000, True), (1_000_000, True), (LARGE, False))


class Authority:
    """Who signs certificates."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._certificate(self._name, self._key.public_key())
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        usage = dict.fromkeys(
            [
                *("digital_signature", "content_commitment", "key_encipherment"),
                *("data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
            ],
            False,
        )
        usages = x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True)
        self._own = made.add_extension(usages, critical=True).sign(self._key, hashes.SHA256())
        self.pem = self._own.public_bytes(serialization.Encoding.PEM)

    def server(self, folder: Path, *names: str) -> ssl.SSLContext:
        """Return what a server of these names shows."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._certificate(x509.Name([]), key.public_key())
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        among = x509.SubjectAlternativeName([address, *map(x509.DNSName, names)])
        signed = made.add_extension(among, critical=True).sign(self._key, hashes.SHA256())
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        file = folder / f"{names[0]}.pem"
        file.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        day = dt.timedelta(days=1)
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(signer, critical=False)
        )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    """What shop.example shows, signed by the one authority that is trusted."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority("Trusted")
    (folder / "trusted.pem").write_bytes(authority.pem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(folder / "trusted.pem"))
        trusted.cache_clear()
        yield authority.server(folder, "shop.example")
    trusted.cache_clear()


@pytest.fixture(params=LOOPS)
def play(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """What runs a test on each kind of event loop."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner.run


Play = Callable[[Coroutine[Any, Any, None]], None]


def plain(body: bytes) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes) -> bytes:
    pieces = [body[start : start + 9000] for start in range(0, len(body), 9000)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def to_the_end(body: bytes) -> bytes:
    return OK + b"Connection: close\r\n\r\n" + body


FRAMES = {"plain": plain, "chunked": chunked, "to the end": to_the_end}
ENDS = ("farewell", "hangs up", "stays")
ANSWERS = [
    (frame, end) for frame in FRAMES for end in ENDS if (frame, end) != ("to the end", ENDS[2])
]


def ending(answer: bytes, end: str) -> Talk:
    """Return how a server talks that says an answer in one go, and ends so."""

    async def talk(line: Line) -> None:
        assert isinstance(line, SecretLine)
        await line.hear()
        await line.say(answer, farewell=end == "farewell")
        if end == "stays":
            await line.ended()

    return talk


async def read(http: httpx.AsyncClient, url: str, *, slowly: bool) -> bytes:
    came = bytearray()
    async with http.stream("GET", url) as answer:
        async for piece in answer.aiter_raw():
            if slowly and len(came) // 500_000 != (len(came) + len(piece)) // 500_000:
                await asyncio.sleep(0.01)  # all that the line holds is full meanwhile
            elif slowly and not came:
                await asyncio.sleep(0.02)
            came += piece
    return bytes(came)


@pytest.mark.parametrize(("frame", "end"), ANSWERS)
def test_a_large_answer_comes_whole(play: Play, shop: ssl.SSLContext, frame: str, end: str):
    async def ask(size: int, slowly: bool) -> None:
        body = BODY[:size]
        async with (
            server(ending(FRAMES[frame](body), end), shop) as there,
            client(20) as http,
        ):
            came = await read(http, f"https://127.0.0.1:{there.port}/", slowly=slowly)
        assert len(came) == size
        assert came == body

    async def ask_all() -> None:
        await asyncio.gather(*(ask(*how) for how in READINGS))

    play(ask_all())


def test_of_answers_that_nobody_reads_so_much_is_held_in_all(
    play: Play, shop: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
):
    """Three of 4 MB where 10 MB may wait: one of them ends, the others come whole."""
    monkeypatch.setattr(Unread.__init__, "__defaults__", (10_000_000,))

    async def ask() -> None:
        gate, cut = asyncio.Event(), asyncio.Event()

        async def talk(line: Line) -> None:
            await line.hear()
            with suppress(ConnectionError):
                await line.say(plain(BODY[:LARGE]))
                await line.ended()
            cut.set()

        async def later(http: httpx.AsyncClient, url: str) -> bytes:
            async with http.stream("GET", url) as answer:
                await gate.wait()
                return await answer.aread()

        async with server(talk, shop) as there, client(20) as http:
            url = f"https://127.0.0.1:{there.port}/"
            asks = [asyncio.create_task(later(http, url)) for _ in range(3)]
            await cut.wait()
            gate.set()
            answers = await asyncio.gather(*asks, return_exceptions=True)
        assert [answer == BODY[:LARGE] for answer in answers].count(True) == 2
        assert [isinstance(answer, httpx.ReadError) for answer in answers].count(True) == 1

    play(ask())


@pytest.mark.parametrize("end", ["farewell", "hangs up", "reset"])
@pytest.mark.parametrize("frame", ["plain", "chunked"])
def test_half_an_answer_is_an_error(play: Play, shop: ssl.SSLContext, frame: str, end: str):
    async def talk(line: Line) -> None:
        assert isinstance(line, SecretLine)
        await line.hear()
        await line.say(FRAMES[frame](BODY[:300_000])[:-40], farewell=end == "farewell")
        if end == "reset":
            line.reset()

    async def ask(slowly: bool) -> None:
        async with server(talk, shop) as there, client(20) as http:
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                await read(http, f"https://127.0.0.1:{there.port}/", slowly=slowly)
        assert there.asked == 1

    async def ask_all() -> None:
        await asyncio.gather(ask(False), ask(True))

    play(ask_all())


@pytest.mark.parametrize("stays", [False, True], ids=["closes", "only says so"])
def test_over_tls_a_post_is_sent_once_also_where_an_idle_connection_was_closed(
    play: Play, shop: ssl.SSLContext, stays: bool
):
    async def talk(line: Line) -> None:
        assert isinstance(line, SecretLine)
        await line.hear()
        await line.say(OK + b"Content-Length: 1\r\n\r\n0", farewell=True)
        if stays:
            await asyncio.Event().wait()

    async def ask_twice() -> None:
        async with server(first(talk), shop) as there, client() as http:
            url = f"https://127.0.0.1:{there.port}/"
            assert [(await http.post(url, json={})).text for _ in range(3)] == ["0", "1", "1"]
        assert there.asked == 3

    play(ask_twice())


def test_who_reads_an_answer_is_told_that_its_connection_was_closed(
    play: Play, shop: ssl.SSLContext
):
    async def talk(line: Line) -> None:
        await line.hear()
        await line.say(plain(b"00")[:-1])
        await line.ended()

    async def ask() -> None:
        async with (
            server(talk, shop) as there,
            client() as http,
            asyncio.timeout(2),
            http.stream("GET", f"https://127.0.0.1:{there.port}/") as answer,
        ):
            pieces = answer.aiter_raw()
            assert await anext(pieces) == b"0"
            await http.aclose()
            with pytest.raises(httpx.ReadError):
                await anext(pieces)

    play(ask())


@pytest.mark.parametrize("late", [False, True], ids=["at once", "with the answer"])
def test_tickets_of_tls_1_3_do_not_end_a_connection(
    play: Play, shop: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, late: bool
):
    if late:
        monkeypatch.setattr(SecretLine, "begin", SecretLine.shake_hands)
    monkeypatch.setattr(shop, "num_tickets", 8)

    async def ask() -> None:
        async with server(friendly, shop) as there, client() as http:
            url = f"https://127.0.0.1:{there.port}/"
            for _ in range(3):
                assert (await http.post(url, json={})).text == "0"
                await asyncio.sleep(0.01)
            (line,) = there.lines
            assert isinstance(line, SecretLine)
            assert line.tls.version() == "TLSv1.3"

    play(ask())


def test_a_large_request_is_heard_whole_by_who_listens_slowly(play: Play, shop: ssl.SSLContext):
    async def talk(line: Line) -> None:
        await asyncio.sleep(0.05)
        await friendly(line)

    async def ask() -> None:
        async with server(talk, shop) as there, client() as http:
            answer = await http.post(f"https://127.0.0.1:{there.port}/", content=BODY[:2_000_000])
            assert answer.text == "0"
        assert there.requests[0].partition(b"\r\n\r\n")[2] == BODY[:2_000_000]

    play(ask())


@pytest.mark.parametrize("name", ["127.0.0.1", "shop.example"])
def test_who_proves_its_name_is_asked(play: Play, shop: ssl.SSLContext, name: str):
    names: list[str | None] = []
    shop.sni_callback = lambda _tls, said, _context: names.append(said)
    shop.set_alpn_protocols(["h2", "http/1.1"])

    async def ask() -> None:
        resolve = resolving("127.0.0.1")
        async with server(friendly, shop) as there, client(resolve=resolve) as http:
            assert (await http.get(f"https://{name}:{there.port}/")).text == "0"
            (line,) = there.lines
            assert isinstance(line, SecretLine)
            assert line.tls.selected_alpn_protocol() != "h2"
        assert names == [None if name == "127.0.0.1" else name]

    play(ask())


@pytest.mark.parametrize("who", ["another name", "an unknown authority", "no TLS", "hangs up"])
def test_who_does_not_is_sent_nothing(play: Play, shop: ssl.SSLContext, tmp_path: Path, who: str):
    stranger = Authority("Stranger").server(tmp_path, "shop.example")
    name = "other.example" if who == "another name" else "shop.example"
    tls = {"another name": shop, "an unknown authority": stranger}.get(who)

    async def talk(line: Line) -> None:
        if who == "no TLS":
            await line.say(OK + b"\r\n")
        if who != "hangs up":
            await friendly(line)

    async def ask() -> None:
        resolve = resolving("127.0.0.1")
        async with server(talk, tls) as there, client(resolve=resolve) as http:
            with pytest.raises(httpx.ConnectError):
                await http.post(f"https://{name}:{there.port}/", json={})
        assert there.asked == 0

    play(ask())


def test_a_handshake_without_end_is_given_up(play: Play, shop: ssl.SSLContext):
    async def talk(line: Line) -> None:
        await line.ended()

    async def ask() -> None:
        async with server(talk) as there, client(0.2) as http:
            with pytest.raises(httpx.ConnectTimeout):
                await http.post(f"https://127.0.0.1:{there.port}/", json={})

    play(ask())


def test_a_handshake_that_is_cancelled_leaves_no_connection(play: Play, shop: ssl.SSLContext):
    async def ask() -> None:
        begun: list[Line] = []

        async def talk(line: Line) -> None:
            await line.hear_some()
            begun.append(line)
            await line.ended()

        transport = CheckedTransport(HERE, limit=2)
        async with server(talk) as there, client_over(transport, 5) as http:
            url = f"https://127.0.0.1:{there.port}/"
            asks = [asyncio.create_task(http.get(url)) for _ in range(2)]
            while len(begun) < 2:
                await asyncio.sleep(0)
            for each in asks:
                each.cancel()
            await asyncio.gather(*asks, return_exceptions=True)
            assert (transport.in_flight, transport.is_exhausted) == (0, False)
            await asyncio.gather(*(line.gone.wait() for line in there.lines))

    play(ask())
