"""Frames of HTTP/2 (RFC 9113) in bytes, for both sides."""

from __future__ import annotations

H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
H2_DATA, H2_HEADERS, H2_RST_STREAM, H2_SETTINGS, H2_PING, H2_GOAWAY = 0, 1, 3, 4, 6, 7
H2_WINDOW_UPDATE, H2_CONTINUATION = 8, 9
H2_ACK = H2_END_STREAM = 0x1
H2_END_HEADERS, H2_PADDED, H2_PRIORITY = 0x4, 0x8, 0x20
H2_MAX_FRAME_BYTES = 16_384


def h2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return b"%b%c%c%b%b" % (
        len(payload).to_bytes(3, "big"),
        kind,
        flags,
        stream.to_bytes(4, "big"),
        payload,
    )
