"""Fill a Prometheus with days of samples, by its remote write receiver, in the order of time.

Python can write some millions of samples a second so; promtool's text would be gigabytes.
"""

from __future__ import annotations

import struct
import urllib.request
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.processes import LabError

TIMEOUT_SECONDS = 120.0
MOST_BYTES = 4_000_000  # of a request: Prometheus holds it in memory several times
# A sample is a message of 16 bytes: field 1 is a double, field 2 a varint of 6 bytes, which holds
# milliseconds from 2004 to 2109 (prompb/types.proto).
SAMPLE_BYTES = 18

# Without a proxy of the user's environment, which could not reach this loopback.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series that begins with `first` and grows by `growth` from sample to sample.

    A gauge has `wave` instead: it takes these values in turn.
    """

    labels: Mapping[str, str]
    first: float = 0.0
    growth: float = 0.0
    wave: tuple[float, ...] = ()

    def values(self, begin: int, count: int) -> array[float]:
        """Return as many values from that sample on."""
        if self.wave:
            turn = len(self.wave)
            return array("d", (self.wave * (count // turn + 2))[begin % turn :][:count])
        return array("d", [self.first + self.growth * n for n in range(begin, begin + count)])


def write(url: str, lines: Sequence[Line], begin: int, step: int, count: int, at_once: int) -> None:
    """Write `count` samples of each line, `step` seconds apart, from `begin` on.

    Raises:
        LabError: Prometheus refuses them.
    """
    heads = [_labels(line.labels) for line in lines]
    for first in range(0, count, at_once):
        number = min(at_once, count - first)
        template = _times(begin + first * step, step, number)
        parts = zip(heads, lines, strict=True)
        _send(url, (_series(head, line, template, first, number) for head, line in parts))


def _times(begin: int, step: int, count: int) -> bytes:
    """Return samples with their times; their values are 0."""
    return b"".join(
        b"\x12\x10\x09" + bytes(8) + b"\x10" + _varint((begin + n * step) * 1000)
        for n in range(count)
    )


def _series(head: bytes, line: Line, template: bytes, first: int, count: int) -> bytes:
    samples = bytearray(template)
    values = line.values(first, count).tobytes()
    for byte in range(8):
        samples[3 + byte :: SAMPLE_BYTES] = values[byte::8]
    body = head + samples
    return b"\x0a" + _varint(len(body)) + body


def _labels(labels: Mapping[str, str]) -> bytes:
    """Return the labels as the receiver wants them: sorted, none empty."""
    found = b""
    for name, value in sorted(labels.items()):
        if value:
            pair = _text(b"\x0a", name) + _text(b"\x12", value)
            found += b"\x0a" + _varint(len(pair)) + pair
    return found


def _text(tag: bytes, text: str) -> bytes:
    return tag + _varint(len(text.encode())) + text.encode()


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _send(url: str, series: Iterable[bytes]) -> None:
    held = bytearray()
    for one in series:
        held += one
        if len(held) > MOST_BYTES:
            _post(url, bytes(held))
            held.clear()
    if held:
        _post(url, bytes(held))


def _post(url: str, body: bytes) -> None:
    # One literal is Snappy too, if not a short one (google/snappy, format_description.txt).
    snappy = _varint(len(body)) + b"\xfc" + struct.pack("<I", len(body) - 1) + body
    headers = {
        "Content-Type": "application/x-protobuf",
        "Content-Encoding": "snappy",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    request = urllib.request.Request(f"{url}/api/v1/write", data=snappy, headers=headers)
    try:
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS):
            return
    except OSError as error:
        detail = error.read().decode() if hasattr(error, "read") else ""
        raise LabError(f"{url}: {error} {detail}") from None
