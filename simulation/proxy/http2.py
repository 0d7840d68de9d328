"""HTTP/2 in clear, as much as GETs need."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simulation.frames import (
    H2_ACK,
    H2_CONTINUATION,
    H2_DATA,
    H2_END_HEADERS,
    H2_END_STREAM,
    H2_GOAWAY,
    H2_HEADERS,
    H2_MAX_FRAME_BYTES,
    H2_PADDED,
    H2_PING,
    H2_PRIORITY,
    H2_RST_STREAM,
    H2_SETTINGS,
    H2_WINDOW_UPDATE,
    h2_frame,
)
from simulation.proxy.answers import Action, page_answer
from simulation.proxy.hpack import Hpack
from simulation.proxy.requests import MAX_HEAD_BYTES

H2_WINDOW_BYTES = 65_535  # a connection's and a stream's at the start
H2_INITIAL_WINDOW_SIZE = 4  # the setting
H2_PROTOCOL_ERROR = 1
H2_REFUSED_STREAM = 7
H2_MOST_WINDOW_BYTES = 2**31 - 1
H2_OPEN_STREAMS = 100  # that wait for their body, their answer or its end
H2_ANSWERS_BYTES = 1024 * 1024  # one `feed` gives hardly more: a client that never reads waits
HPACK_STATUS_200 = b"\x88"  # entry 8 of the static table


def h2_page(_stream: int, fields: Mapping[bytes, bytes]) -> Action:
    return page_answer("", fields.get(b":path", b""), False)


class Http2:
    """The server's side of HTTP/2 after the preface: bytes in, bytes out, no socket.

    `serve` gives the answer to a stream's header fields, once its body has come: at once or, after
    None, by `reply`. An answer's body waits for room in the client's windows.
    """

    def __init__(
        self,
        vendor: bytes,
        serve: Callable[[int, Mapping[bytes, bytes]], Action | None] = h2_page,
    ) -> None:
        self._vendor, self._serve = vendor, serve
        self._fields = Hpack()
        self._rest = b""
        self.waiting = False  # bytes that wait for the next `feed`
        self._header_block: tuple[int, bytes] | None = None  # stream, what came until now
        self._ends = False  # that stream, with its headers
        self._last_stream = 0
        self._uploads: dict[int, Mapping[bytes, bytes]] = {}  # streams whose body is to come
        self._window = self._stream_window = H2_WINDOW_BYTES
        self._open: dict[int, int] = {}  # streams, with the room in their windows
        self._bodies: dict[int, bytes | memoryview] = {}  # what is still to be sent
        self.greeting = h2_frame(H2_SETTINGS, 0, 0, b"")
        self.ended = False  # it was no HTTP/2

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the connection; the bytes to answer."""
        self._rest += data
        self.waiting = False
        answers = [self._parts()]
        at, size_of_answers = 0, len(answers[0])
        try:
            while len(self._rest) - at >= 9:
                self.waiting = self.waiting or size_of_answers > H2_ANSWERS_BYTES
                if self.waiting:
                    break
                size = int.from_bytes(self._rest[at : at + 3], "big")
                if size > H2_MAX_FRAME_BYTES:
                    raise ValueError("frame too large")
                end = at + 9 + size
                if len(self._rest) < end:
                    break
                kind, flags = self._rest[at + 3], self._rest[at + 4]
                stream = int.from_bytes(self._rest[at + 5 : at + 9], "big") & 0x7FFFFFFF
                answer = self._frame(kind, flags, stream, self._rest[at + 9 : end]) + self._parts()
                answers.append(answer)
                size_of_answers += len(answer)
                at = end
        except ValueError:
            self.ended = True
            reason = self._last_stream.to_bytes(4, "big") + H2_PROTOCOL_ERROR.to_bytes(4, "big")
            answers.append(h2_frame(H2_GOAWAY, 0, 0, reason))
        self._rest = self._rest[at:]
        return b"".join(answers)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        if self._header_block and (kind, stream) != (H2_CONTINUATION, self._header_block[0]):
            raise ValueError("a header block is interrupted")
        if kind == H2_HEADERS:
            return self._headers(flags, stream, _unpadded(flags, payload))
        if kind == H2_CONTINUATION:
            if not self._header_block:
                raise ValueError("nothing to continue")
            return self._headers(flags, stream, self._header_block[1] + payload)
        if kind == H2_SETTINGS and not flags & H2_ACK:
            return self._settings(payload)
        if kind == H2_PING and not flags & H2_ACK:
            return h2_frame(H2_PING, H2_ACK, 0, _exactly(8, payload))
        if kind == H2_DATA:
            return self._upload(flags, stream, len(payload))
        if kind == H2_RST_STREAM:
            self._uploads.pop(stream, None)
            self._end(stream)
        if kind == H2_WINDOW_UPDATE:
            more = int.from_bytes(_exactly(4, payload), "big") & 0x7FFFFFFF
            if stream == 0:
                self._window = min(self._window + more, H2_MOST_WINDOW_BYTES)
            elif stream in self._open:
                self._open[stream] = min(self._open[stream] + more, H2_MOST_WINDOW_BYTES)
        return b""

    def _settings(self, payload: bytes) -> bytes:
        if len(payload) % 6:
            raise ValueError("half a setting")
        for at in range(0, len(payload), 6):
            if int.from_bytes(payload[at : at + 2], "big") == H2_INITIAL_WINDOW_SIZE:
                asked = int.from_bytes(payload[at + 2 : at + 6], "big")
                if asked > H2_MOST_WINDOW_BYTES:
                    raise ValueError("a window too large")
                for stream in self._open:  # of open streams too, perhaps below zero
                    self._open[stream] += asked - self._stream_window
                self._stream_window = asked
        return h2_frame(H2_SETTINGS, H2_ACK, 0, b"")

    def _headers(self, flags: int, stream: int, block: bytes) -> bytes:
        if not stream % 2 or len(block) > MAX_HEAD_BYTES:
            raise ValueError("no stream of a client, or too many headers")
        if not flags & H2_END_HEADERS:
            self._header_block = (stream, block)
            self._ends = self._ends or bool(flags & H2_END_STREAM)
            return b""
        ends, self._ends = self._ends or bool(flags & H2_END_STREAM), False
        self._header_block = None
        fields = dict(self._fields.read(block))  # also of trailers: they change the table
        if stream <= self._last_stream:
            return self._answer(stream, self._uploads.pop(stream, None))
        self._last_stream = stream
        if len(self._open) >= H2_OPEN_STREAMS:
            return self.refuse(stream)
        self._open[stream] = self._stream_window
        if ends:
            return self._answer(stream, fields)
        self._uploads[stream] = fields
        return b""

    def _upload(self, flags: int, stream: int, size: int) -> bytes:
        """Part of a request's body, taken and forgotten: there is room for as much again."""
        room = size.to_bytes(4, "big")
        said = h2_frame(H2_WINDOW_UPDATE, 0, 0, room) if size else b""
        if flags & H2_END_STREAM:
            return said + self._answer(stream, self._uploads.pop(stream, None))
        return said + (h2_frame(H2_WINDOW_UPDATE, 0, stream, room) if size else b"")

    def _answer(self, stream: int, fields: Mapping[bytes, bytes] | None) -> bytes:
        action = self._serve(stream, fields) if fields is not None else None
        return self.reply(stream, action, (fields or {}).get(b":method", b"")) if action else b""

    def reply(self, stream: int, action: Action, method: bytes) -> bytes:
        """The head of an answer; its body comes with the next `feed`."""
        if stream not in self._open:  # the client wants it no more
            return b""
        more = [line.partition(b": ")[::2] for line in action.headers.split(b"\r\n") if line]
        code = action.status[:3]
        status = HPACK_STATUS_200 if code == b"200" else b"\x08\x03" + code
        block = status + b"".join(
            b"\x00%c%b%c%b" % (len(key), key.lower(), len(value), value)
            for key, value in (
                (b"x-sim-vendor", self._vendor[:126]),
                *more,
                (b"content-type", b"text/html"),
                (b"content-length", b"%d" % len(action.body)),
            )
        )
        if action.body and method != b"HEAD":
            self._bodies[stream] = action.body
            return h2_frame(H2_HEADERS, H2_END_HEADERS, stream, block)
        self._end(stream)
        return h2_frame(H2_HEADERS, H2_END_HEADERS | H2_END_STREAM, stream, block)

    def refuse(self, stream: int) -> bytes:
        """Nothing was done for this stream: the client may ask again."""
        self._end(stream)
        return h2_frame(H2_RST_STREAM, 0, stream, H2_REFUSED_STREAM.to_bytes(4, "big"))

    def _parts(self) -> bytes:
        """As much of the bodies as there is room for; at most about H2_ANSWERS_BYTES."""
        parts: list[bytes] = []
        size = 0
        for stream in list(self._bodies):
            body = self._bodies[stream]
            while body and (room := min(self._window, self._open[stream], H2_MAX_FRAME_BYTES)) > 0:
                if size > H2_ANSWERS_BYTES:
                    self.waiting = True
                    break
                part, body = bytes(body[:room]), body[room:]
                self._window -= len(part)
                self._open[stream] -= len(part)
                size += len(part)
                parts.append(h2_frame(H2_DATA, 0 if body else H2_END_STREAM, stream, part))
            self._bodies[stream] = body
            if not body:
                self._end(stream)
        return b"".join(parts)

    def _end(self, stream: int) -> None:
        self._open.pop(stream, None)
        self._bodies.pop(stream, None)


def _exactly(size: int, payload: bytes) -> bytes:
    if len(payload) != size:
        raise ValueError("a frame of another size")
    return payload


def _unpadded(flags: int, payload: bytes) -> bytes:
    """The header block of a HEADERS frame."""
    start = bool(flags & H2_PADDED) + 5 * bool(flags & H2_PRIORITY)
    padding = payload[0] if flags & H2_PADDED and payload else 0
    if start + padding > len(payload):
        raise ValueError("more padding than frame")
    return payload[start : len(payload) - padding]
