"""One client's connection: how its bytes become requests, and replies bytes."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import pytest

from infra.modelserver.rest import protocol
from infra.modelserver.rest.protocol import Connection, Reply, Request, page

HEAD = b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
NOT_FOR_PAGES = Reply(403, ((b"connection", b"close"),), b"no")


class Echo:
    """Answers with what was asked; a body `wait` only when `go` is set."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.go = asyncio.Event()

    def refusal(self, request: Request) -> Reply | None:
        return NOT_FOR_PAGES if request.header(b"origin") else None

    async def answer(self, request: Request) -> Reply:
        body = request.body()
        self.asked.append(body)
        if body == b"wait":
            await self.go.wait()
        if body == b"fail":
            raise RuntimeError("can't start new thread")
        return Reply(200, (), b"%s %s %s;" % (request.method.encode(), request.uri.encode(), body))


class Client:
    """The other end of a connection."""

    def __init__(self, end: socket.socket, connection: Connection, open_ones: set[Connection], app: Echo) -> None:
        self._end, self.connection, self.open, self.app = end, connection, open_ones, app

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            await asyncio.get_running_loop().sock_sendall(self._end, piece)
            await asyncio.sleep(0.001)  # each piece is received by itself

    async def reply(self, ending: bytes = b";", slowly: float = 0.0) -> bytes:
        """What has come, up to an ending; or all of it, if the connection ends before.

        slowly is how many seconds it takes for each 64 KB.
        """
        received = b""
        while not received.endswith(ending):
            try:
                more = await asyncio.get_running_loop().sock_recv(self._end, 1 << 16)
            except ConnectionResetError:  # it ended with something unread
                break
            if not more:
                break
            received += more
            await asyncio.sleep(slowly)
        return received

    async def rest(self) -> bytes:
        """What comes until the connection ends."""
        return await self.reply(b"no such ending")

    def send_no_more(self) -> None:
        self._end.shutdown(socket.SHUT_WR)

    def leave(self) -> None:
        self._end.close()


def talk(
    what: Callable[[Client], Awaitable[None]], idle: float = protocol.IDLE_SECONDS, kept: float = protocol.KEPT_SECONDS
) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        app, open_ones = Echo(), set[Connection]()
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(app, open_ones, idle, kept), sock=theirs
        )
        async with asyncio.timeout(10):
            await what(Client(ours, connection, open_ones, app))
        ours.close()

    asyncio.run(run())


def post(body: bytes) -> bytes:
    return HEAD % len(body) + body


def test_a_request_is_put_together_from_pieces_and_answered_in_one() -> None:
    async def what(client: Client) -> None:
        whole = post(b"abcdef")
        for size in (1, 7, len(whole)):
            await client.send(*[whole[at : at + size] for at in range(0, len(whole), size)])
            assert await client.reply() == b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\nPOST /a?b abcdef;"
        chunked = b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
        await client.send(chunked)
        assert (await client.reply()).endswith(b"POST /c abc;")

    talk(what)


def test_requests_that_come_at_once_are_answered_one_by_one_in_their_order() -> None:
    async def what(client: Client) -> None:
        await client.send(post(b"wait") + post(b"b") + post(b"c"))
        assert client.app.asked == [b"wait"]
        client.app.go.set()
        replies = await client.reply(b" c;")
        assert [part.split(b";")[0] for part in replies.split(b"POST /a?b ")[1:]] == [b"wait", b"b", b"c"]
        await client.send(post(b"d"))
        assert (await client.reply()).endswith(b"d;")

    talk(what)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.0\r\n\r\n",
        b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n",
    ],
)
def test_a_client_that_asks_once_is_answered_once(head: bytes) -> None:
    async def what(client: Client) -> None:
        await client.send(head + post(b"not answered"))
        assert await client.rest() == b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nGET /x ;"

    talk(what)


def test_what_fails_is_answered_too() -> None:
    async def what(client: Client) -> None:
        await client.send(post(b"fail"))
        assert (await client.rest()).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")

    talk(what)


def test_a_reply_to_head_has_no_body() -> None:
    async def what(client: Client) -> None:
        await client.send(b"HEAD /x HTTP/1.1\r\n\r\n")
        assert await client.reply(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"

    talk(what)


def test_a_client_that_waits_for_leave_to_send_gets_it() -> None:
    async def what(client: Client) -> None:
        await client.send(b"POST /x HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n")
        assert await client.reply(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"a")
        assert (await client.reply()).endswith(b"POST /x a;")

    talk(what)


def test_leave_to_send_is_not_mistaken_for_the_reply_to_an_earlier_request() -> None:
    async def what(client: Client) -> None:
        await client.send(post(b"wait"), b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", b"a")
        client.app.go.set()
        assert b" 100 " not in await client.reply(b"POST /x a;")

    talk(what)


@pytest.mark.parametrize("size", [1, 20, 1000])
def test_an_offer_to_upgrade_is_passed_over_wherever_it_is_cut(size: int) -> None:
    async def what(client: Client) -> None:
        offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
        one = HEAD.replace(b"\r\n\r\n", b"\r\n" + offer + b"\r\n") % 3 + b"abc"
        sent = one * 3 + post(b"d")
        await client.send(*[sent[at : at + size] for at in range(0, len(sent), size)])
        replies = await client.reply(b" d;")
        assert replies.count(b"POST /a?b abc;") == 3

    talk(what)


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (b"GE T / HTTP/1.1\r\n\r\n", page(400)),
        (b"POST /x HTTP/1.1\r\nContent-Length: x\r\n\r\n", page(400)),
        (b"GET /x HTTP/1.1\r\nOrigin: y\r\n\r\n", NOT_FOR_PAGES),
        (b"POST /x HTTP/1.1\r\nOrigin: y\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", NOT_FOR_PAGES),
        (HEAD % protocol.MAX_BODY_BYTES + b"1", None),
        (HEAD % (protocol.MAX_BODY_BYTES + 1) + b"1", page(413)),
        (b"CONNECT x:1 HTTP/1.1\r\n\r\n", page(400)),
    ],
)
def test_what_is_refused_ends_the_connection_after_the_replies_before(sent: bytes, reply: Reply | None) -> None:
    async def what(client: Client) -> None:
        await client.send(post(b"wait"), sent, post(b"not answered"))
        client.app.go.set()
        if reply is None:
            assert (await client.reply()).endswith(b"wait;")
            assert client.open
            return
        _, _, last = (await client.rest()).partition(b"wait;")
        assert last.startswith(b"HTTP/1.1 %d " % reply.status)
        assert last.endswith(reply.body)
        assert client.app.asked == [b"wait"]

    talk(what)


def test_a_body_is_refused_as_soon_as_it_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_BODY_BYTES", 3)

    async def what(client: Client) -> None:
        await client.send(b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 413 ")

    talk(what)


def test_a_client_that_stops_in_the_middle_is_told_so() -> None:
    async def what(client: Client) -> None:
        await client.send(HEAD % 3 + b"a")
        assert (await client.rest()).startswith(b"HTTP/1.1 408 ")
        assert not client.app.asked

    talk(what, idle=0.01)


def test_a_client_that_asks_nothing_more_is_let_go_but_not_while_it_waits() -> None:
    async def what(client: Client) -> None:
        await client.send(post(b"wait"))
        await asyncio.sleep(0.1)
        assert client.open
        client.app.go.set()
        assert (await client.rest()).endswith(b"wait;")

    talk(what, idle=0.01, kept=0.01)


def test_a_client_that_leaves_is_forgotten() -> None:
    async def what(client: Client) -> None:
        await client.send(post(b"wait") + post(b"fail") + post(b"more") * 9)
        client.leave()
        client.app.go.set()
        while client.open:
            await asyncio.sleep(0.001)
        assert len(client.app.asked) < 5

    talk(what)


def test_the_end_comes_at_once_for_an_idle_client_and_after_its_reply_for_one_that_waits() -> None:
    async def idle(client: Client) -> None:
        await client.send(post(b"a"))
        await client.reply()
        client.connection.shut_down()
        assert await client.rest() == b""

    async def waiting(client: Client) -> None:
        await client.send(post(b"wait"))
        client.connection.shut_down()
        client.app.go.set()
        assert (await client.rest()).endswith(b"connection: close\r\n\r\nPOST /a?b wait;")

    async def sending(client: Client) -> None:
        await client.send(HEAD % 3 + b"a")
        client.connection.shut_down()
        await client.send(b"bc")
        assert (await client.rest()).endswith(b"abc;")

    for what in (idle, waiting, sending):
        talk(what)


def test_a_client_that_does_not_read_is_answered_no_more_until_it_does() -> None:
    async def what(client: Client) -> None:
        body = bytes(1 << 20)
        await client.send(post(body), post(b"after"))
        await asyncio.sleep(0.05)
        assert client.app.asked == [body]
        assert (await client.reply(b"after;")).count(b"HTTP/1.1 200 ") == 2

    talk(what)


def test_a_client_that_takes_no_reply_is_let_go_with_what_is_kept_for_it() -> None:
    async def what(client: Client) -> None:
        sending = asyncio.ensure_future(client.send(*[post(b"a" * 1_000_000)] * 5))
        while client.open:
            await asyncio.sleep(0.01)
        with contextlib.suppress(OSError):
            await sending
        assert len(client.app.asked) < 5

    talk(what, idle=0.2, kept=0.2)


def test_a_client_that_takes_a_reply_slowly_gets_all_of_it() -> None:
    async def what(client: Client) -> None:
        await client.send(post(b"a" * 4_000_000))
        assert len(await client.reply(slowly=0.03)) > 4_000_000

    talk(what, idle=1.0, kept=1.0)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET /a HTTP/1.1\r\nX: ", *[b"x" * 10_000] * 7],
        [b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n"],
        [b"GET /a HTTP/1.1\r\n", *[b"X: y\r\n" * 3_000] * 4],
        [b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", *[b"x" * 10_000] * 7],
    ],
)
def test_a_head_of_more_than_64_kb_is_refused_and_not_kept(pieces: list[bytes]) -> None:
    async def what(client: Client) -> None:
        await client.send(*pieces)
        assert (await client.rest()).startswith(b"HTTP/1.1 400 Bad Request")
        assert client.app.asked == []

    talk(what)


def test_a_trailer_is_no_header() -> None:
    async def what(client: Client) -> None:
        await client.send(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nOrigin: y\r\n\r\n")
        assert (await client.reply()).endswith(b"POST /a x;")

    talk(what)


def test_a_head_that_comes_byte_by_byte_has_no_longer_than_one_that_stops() -> None:
    async def what(client: Client) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        receiving = asyncio.ensure_future(client.rest())
        with contextlib.suppress(BrokenPipeError):
            for byte in b"GET /a HTTP/1.1\r\nHost: " + b"x" * 500:
                if receiving.done():
                    break
                await client.send(bytes([byte]))
                await asyncio.sleep(0.01)
        assert (await receiving).startswith(b"HTTP/1.1 408 ")
        assert loop.time() - began < 2

    talk(what, idle=0.3, kept=5)


def test_bodies_of_all_clients_have_a_bound_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_BODIES_BYTES", 3 << 20)

    async def what(client: Client) -> None:
        await client.send(HEAD % (2 << 20), b"x" * (2 << 20))
        assert (await client.reply()).startswith(b"HTTP/1.1 200")
        assert client.connection.held == 0, "what is answered does not count"
        await client.send(HEAD % (4 << 20), *[b"x" * (1 << 20)] * 3, b"x")
        assert client.connection.held == (3 << 20) + 1
        client.connection.on_body(b"x" * (1 << 20))
        assert client.connection.held == 0
        assert (await client.rest()).startswith(b"HTTP/1.1 503 Service Unavailable")

    talk(what)


def test_a_client_that_sends_nothing_more_gets_the_replies_to_what_it_has_asked() -> None:
    async def what(client: Client) -> None:
        await client.send(post(b"wait") + post(b"b") + HEAD % 3)
        client.send_no_more()
        client.app.go.set()
        replies = await client.rest()
        assert replies.count(b"HTTP/1.1 200 ") == 2
        assert replies.endswith(b"POST /a?b b;")
        assert not client.open

    async def idle(client: Client) -> None:
        await client.send(HEAD % 3 + b"a")
        client.send_no_more()
        assert await client.rest() == b""
        assert client.connection.held == 0

    talk(what)
    talk(idle)


def test_a_body_that_comes_byte_by_byte_has_no_time_without_end() -> None:
    async def what(client: Client) -> None:
        receiving = asyncio.ensure_future(client.rest())
        await client.send(HEAD % 5000)
        with contextlib.suppress(BrokenPipeError):
            while not receiving.done():
                await client.send(b"x")
                await asyncio.sleep(0.01)
        assert (await receiving).startswith(b"HTTP/1.1 408 ")

    talk(what, idle=0.2, kept=5)


def test_the_longest_silent_connection_makes_room_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 1)

    async def connect(client: Client) -> tuple[socket.socket, Connection]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        _, second = await asyncio.get_running_loop().create_connection(
            lambda: Connection(client.app, client.open), sock=theirs
        )
        return ours, second

    async def silent(client: Client) -> None:
        ours, second = await connect(client)
        assert await client.rest() == b""
        assert client.open == {second}
        ours.close()

    async def answering(client: Client) -> None:
        await client.send(post(b"wait"))
        ours, _ = await connect(client)
        assert await asyncio.get_running_loop().sock_recv(ours, 1) == b"", "nobody is silent: the new one is closed"
        client.app.go.set()
        assert (await client.reply()).endswith(b"wait;")
        ours.close()

    talk(silent)
    talk(answering)


def test_no_leave_to_send_is_given_in_http_1_0() -> None:
    async def what(client: Client) -> None:
        await client.send(b"POST /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", b"a")
        assert (await client.rest()).startswith(b"HTTP/1.1 200 ")

    talk(what)


def test_a_refusal_of_head_has_no_body_and_one_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def head(client: Client) -> None:
        await client.send(b"HEAD /x HTTP/1.1\r\nOrigin: y\r\n\r\n")
        reply = await client.rest()
        assert reply.startswith(b"HTTP/1.1 403 ")
        assert reply.endswith(b"\r\n\r\n")

    async def failing(client: Client) -> None:
        monkeypatch.setattr(client.app, "refusal", lambda _request: 1 // 0)
        await client.send(post(b"a"))
        assert (await client.rest()).startswith(b"HTTP/1.1 500 ")
        assert client.app.asked == []

    talk(head)
    talk(failing)
