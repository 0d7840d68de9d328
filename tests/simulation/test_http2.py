"""HTTP/2 as bytes in, bytes out: the crawler's side, the vendor's, and both together."""

from __future__ import annotations

import random

import pytest

from simulation.crawler.http2 import H2Answer, h2_get, hpack_literal
from simulation.frames import (
    H2_ACK,
    H2_DATA,
    H2_END_HEADERS,
    H2_END_STREAM,
    H2_GOAWAY,
    H2_HEADERS,
    H2_MAX_FRAME_BYTES,
    H2_PREFACE,
    H2_RST_STREAM,
    H2_SETTINGS,
    H2_WINDOW_UPDATE,
    h2_frame,
)
from simulation.proxy.answers import page_answer
from simulation.proxy.hpack import Hpack
from simulation.proxy.http2 import Http2

END = H2_END_HEADERS | H2_END_STREAM


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """(kind, flags, stream, payload) of every frame, and nothing left over."""
    found = []
    while data:
        size = int.from_bytes(data[:3], "big")
        stream = int.from_bytes(data[5:9], "big")
        found.append((data[3], data[4], stream, data[9 : 9 + size]))
        assert len(data) >= 9 + size
        data = data[9 + size :]
    return found


def asked(path: str = "/p/700", stream: int = 1, flags: int = END) -> bytes:
    return h2_frame(H2_HEADERS, flags, stream, hpack_literal(b":path", path.encode()))


def body(data: bytes, stream: int = 1) -> bytes:
    return b"".join(f[3] for f in frames(data) if (f[0], f[2]) == (H2_DATA, stream))


def converse(step: int) -> tuple[H2Answer, bytes, bytes]:
    """One GET and its answer, handed over in pieces of `step` bytes; both sides' bytes."""
    said, server = [h2_get("site.sim.test", "/p/2000", {"X": "y" * 300})], Http2(b"vendor-a")
    answer = H2Answer(said.append)
    back = [server.greeting]
    done, sent, taken = False, 0, 0
    while not done:
        mine, theirs = b"".join(said).removeprefix(H2_PREFACE), b"".join(back)
        assert sent < len(mine) or taken < len(theirs), "both wait"
        back.append(server.feed(mine[sent : sent + step]))
        sent = min(len(mine), sent + step)
        done = answer.feed(memoryview(theirs)[taken : taken + step])
        taken = min(len(theirs), taken + step)
    return answer, b"".join(said), b"".join(back)


@pytest.mark.parametrize("step", [1, 2, 9, 10, 1000, 100_000])
def test_exchange_is_the_same_however_it_is_cut(step: int) -> None:
    """Both sides say the same bytes, whole or one at a time."""
    answer, said, back = converse(step)
    assert answer.good
    assert (said, back) == converse(1 << 20)[1:]
    acknowledged = h2_frame(H2_SETTINGS, H2_ACK, 0, b"")
    assert said.endswith(acknowledged)
    kinds = [frame[:3] for frame in frames(back)]
    assert kinds == [(4, 0, 0), (4, 1, 0), (1, 4, 1), (0, 1, 1)]
    assert len(body(back)) == 2000


@pytest.mark.parametrize("cut", range(1, 60))
def test_request_in_two_pieces_is_one_request(cut: int) -> None:
    """A frame header, a payload and the place between them may each be cut."""
    raw = h2_frame(H2_SETTINGS, 0, 0, b"") + asked() + h2_frame(6, 0, 0, b"12345678")
    server = Http2(b"a")
    assert server.feed(raw[:cut]) + server.feed(raw[cut:]) == Http2(b"a").feed(raw)


def room(stream: int, size: int) -> bytes:
    return h2_frame(H2_WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


def window(size: int) -> bytes:
    setting = (4).to_bytes(2, "big") + size.to_bytes(4, "big")
    return h2_frame(H2_SETTINGS, 0, 0, setting)


def test_vendor_sends_what_the_windows_let_through_and_the_rest_later() -> None:
    """65,535 bytes in all and of each stream until the client gives more; no page is cut short."""
    server = Http2(b"a")
    said = server.feed(b"".join(asked("/p/60000", stream) for stream in (1, 3, 5)))
    assert [len(body(said, stream)) for stream in (1, 3, 5)] == [60000, 5535, 0]
    said += server.feed(room(0, 120_000))
    assert [len(body(said, stream)) for stream in (1, 3, 5)] == [60_000] * 3
    ends = [frame[2] for frame in frames(said) if frame[0] == H2_DATA and frame[1] & H2_END_STREAM]
    assert ends == [1, 3, 5]
    said = server.feed(room(0, 1 << 30) + asked("/p/200000", 7))
    assert len(body(said, 7)) == 65_535
    said += server.feed(room(7, 100_000))
    assert len(body(said, 7)) == 165_535
    said += server.feed(room(7, 100_000))
    assert body(said, 7) == b"<!doctype html>".ljust(200_000, b"x")
    assert max(len(frame[3]) for frame in frames(said)) <= H2_MAX_FRAME_BYTES


def test_windows_of_open_streams_follow_the_setting() -> None:
    """A smaller one holds for the stream that waits, below zero too; a larger one lets it go on."""
    server = Http2(b"a")
    assert len(body(server.feed(window(100) + asked("/p/4000")))) == 100
    assert body(server.feed(window(50))) == b""
    assert body(server.feed(room(1, 50))) == b""
    assert len(body(server.feed(room(1, 1)))) == 1
    assert len(body(server.feed(window(1 << 20)))) == 3899
    assert server.feed(window(1 << 31))[3] == H2_GOAWAY


def test_stream_that_is_given_up_gets_no_more() -> None:
    """Neither the rest of its page nor a late answer; the others go on."""
    server = Http2(b"a")
    server.feed(window(10) + asked("/p/20", 1) + asked("/p/20", 3))
    gone = h2_frame(H2_RST_STREAM, 0, 1, bytes(4))
    said = server.feed(gone + room(1, 10) + room(3, 10))
    assert (len(body(said, 1)), len(body(said, 3))) == (0, 10)
    assert server.reply(1, page_answer("", b"/p/20", False), b"GET") == b""


def test_pages_nobody_makes_room_for_are_not_asked_for_without_end() -> None:
    """A hundred streams may wait; one more may come again once another has ended."""
    server = Http2(b"a")
    server.feed(window(0))
    streams = range(1, 2 * 101, 2)
    said = server.feed(b"".join(asked("/p/9", stream) for stream in streams))
    assert [frame[2] for frame in frames(said) if frame[0] == H2_RST_STREAM] == [201]
    said = server.feed(room(1, 9) + asked("/p/9", 203))
    assert [(frame[0], frame[2]) for frame in frames(said)] == [(H2_DATA, 1), (H2_HEADERS, 203)]


def test_a_large_page_is_not_made_all_at_once() -> None:
    """With all the room there is, 4 MB come in pieces of about one."""
    server = Http2(b"a")
    most = (1 << 31) - 1
    said = [server.feed(window(most) + room(0, most - 65_535) + asked("/p/4000000"))]
    while server.waiting:
        said.append(server.feed(b""))
    assert len(body(b"".join(said))) == 4_000_000
    assert max(map(len, said)) < 1.1 * 1024 * 1024
    assert len(said) == 4


def test_headers_come_padded_with_priority_and_in_several_frames() -> None:
    """Forms that clients use; trailers and frames of no interest are passed over."""
    block = hpack_literal(b":path", b"/p/77")
    padded = h2_frame(1, END | 0x8 | 0x20, 1, b"\x03" + b"\x00" * 5 + block + b"\x00" * 3)
    assert len(body(Http2(b"a").feed(padded))) == 77
    parts = h2_frame(1, H2_END_STREAM, 1, block[:4]) + h2_frame(9, 0, 1, block[4:6])
    parts += h2_frame(9, H2_END_HEADERS, 1, block[6:])
    assert len(body(Http2(b"a").feed(parts))) == 77
    server = Http2(b"a")
    rest = h2_frame(2, 0, 1, b"\x00" * 5) + h2_frame(0, 0, 1, b"body") + asked("/", 1)
    assert len(body(server.feed(asked("/p/5") + rest))) == 5
    assert not server.ended


@pytest.mark.parametrize(
    ("block", "path"),
    [
        (b"\x82\x86" + b"\x04\x05/p/12", b"/p/12"),  # indexed :method, then :path by its entry
        (b"\x3f\xe1\x1f\x44\x05/p/12", b"/p/12"),  # a new table size, then into the table
        (b"\x10\x05:path\x05/p/12", b"/p/12"),  # never indexed
        (b"\x00\x01a\x7f\x80\x01" + b"x" * 255 + b"\x04\x02/p", b"/p"),  # a long value before
        (b"\x82\x04\x84\x60\xd5\x48\x5f", b"/inde"),  # Huffman
        (b"\x44\x05/p/12\xbe", b"/p/12"),  # into the dynamic table, and out of it
        (b"\xbe", b""),  # nothing is there
        (b"\x04\x05/p", b"/p"),  # cut short
        (b"\x0f" + b"\xff" * 3000, b""),
        (b"", b""),
    ],
)
def test_path_is_read_in_any_form(block: bytes, path: bytes) -> None:
    """Literals of every kind, Huffman coded or from a table; broken blocks to where they break."""
    assert dict(Hpack().read(block)).get(b":path", b"") == path


def test_path_that_cannot_be_read_gets_the_default_page() -> None:
    """An entry that no table has: there is an answer all the same."""
    answer = Http2(b"a").feed(h2_frame(1, END, 1, b"\xbe"))
    assert len(body(answer)) == 1000


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff" * 9,  # longer than a frame may be
        h2_frame(1, END, 0, b""),
        h2_frame(1, END, 2, b""),
        h2_frame(1, END | 0x8, 1, b"\x09"),
        h2_frame(1, END | 0x8, 1, b""),
        h2_frame(9, END, 1, b""),
        h2_frame(1, 0, 1, b"") + h2_frame(6, 0, 0, b"12345678"),
        h2_frame(6, 0, 0, b"1234"),
        h2_frame(4, 0, 0, b"12345"),
        h2_frame(8, 0, 0, b"1"),
        h2_frame(1, 0, 1, b"x" * 16384) + h2_frame(9, 0, 1, b"x" * 16384) * 4,
    ],
)
def test_frames_that_are_none_end_with_goaway(raw: bytes) -> None:
    """A protocol error is said once; nothing raises."""
    server = Http2(b"a")
    last = frames(server.feed(raw))[-1]
    assert (last[0], server.ended) == (H2_GOAWAY, True)


def test_noise_raises_on_neither_side() -> None:
    """Flipped bytes of a good exchange, from both ends."""
    chance = random.Random(5)
    _, said, back = converse(1 << 20)
    for _ in range(500):
        for good, take in (
            (said.removeprefix(H2_PREFACE), Http2(b"a").feed),
            (back, lambda data: H2Answer(lambda _: None).feed(memoryview(data))),
        ):
            bad = bytearray(good[: chance.randrange(len(good))] + chance.randbytes(30))
            bad[chance.randrange(min(len(bad), 40))] = chance.randrange(256)
            take(bytes(bad))


@pytest.mark.parametrize(
    ("raw", "good"),
    [
        (h2_frame(1, END, 1, b"\x88"), True),
        (
            h2_frame(1, 4 | 0x28, 1, b"\x01" + b"\x00" * 5 + b"\x88\x00") + h2_frame(0, 1, 1, b""),
            True,
        ),
        (h2_frame(1, 4, 1, b"\x88") + h2_frame(1, END, 1, b"\x00\x01a\x01b"), True),  # trailers
        (h2_frame(1, END, 1, b"\x8d"), False),  # 404
        (h2_frame(1, 4, 1, b"\x88") + h2_frame(3, 0, 1, b"\x00" * 4), False),
        (h2_frame(7, 0, 0, b"\x00" * 8), False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
    ],
)
def test_crawler_tells_an_answer_from_a_refusal(raw: bytes, good: bool) -> None:
    """A 200 to its end is an answer; a reset, a farewell or no HTTP/2 is none, told at once."""
    answer = H2Answer(lambda _: None)
    assert answer.feed(memoryview(raw))
    assert answer.good is good


def test_crawler_acknowledges_settings_and_pings() -> None:
    """Once each, with the ping's own bytes, and no acknowledgement of an acknowledgement."""
    said: list[bytes] = []
    raw = [h2_frame(4, 0, 0, b""), h2_frame(4, 1, 0, b""), h2_frame(6, 0, 0, b"12345678")]
    assert not H2Answer(said.append).feed(
        memoryview(b"".join(raw) + h2_frame(6, 1, 0, b"87654321"))
    )
    assert frames(b"".join(said)) == [(4, 1, 0, b""), (6, 1, 0, b"12345678")]


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 300, 16_000])
def test_literals_of_any_size_are_read_by_the_other_side(size: int) -> None:
    """Sizes around the limits of the prefix; credentials are often above 127."""
    block = hpack_literal(b"proxy-authorization", b"x" * size) + hpack_literal(b":path", b"/p/3")
    assert dict(Hpack().read(block))[b":path"] == b"/p/3"
