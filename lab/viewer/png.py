"""A screenshot as a small PNG: with a palette it has a third of the bytes."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass

from tools.chromium import ChromiumError, Page

MOST_BYTES = 200_000
"""Of a picture in the repository."""

# The browser reads its own screenshot, which is faster than Python by far. Colours are put together
# by the upper bits of each channel, and the commonest are the palette.
_INDEXED = """(async () => {
  const image = new Image();
  image.src = "data:image/png;base64,%s";
  await image.decode();
  const {width, height} = image;
  const canvas = new OffscreenCanvas(width, height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const data = new Uint32Array(canvas.getImageData(0, 0, width, height).data.buffer);
  const counts = new Map();
  for (const one of data) counts.set(one, (counts.get(one) ?? 0) + 1);
  const parts = (one) => [one & 255, (one >> 8) & 255, (one >> 16) & 255];
  const chosen = new Map();
  for (const [one] of [...counts].sort((a, b) => b[1] - a[1])) {
    const key = parts(one).map((part) => part >> 3).join();
    if (chosen.size < %d && !chosen.has(key)) chosen.set(key, parts(one));
  }
  const palette = [...chosen.values()];
  const place = new Map();
  for (const one of counts.keys()) {
    const [r, g, b] = parts(one);
    let best = 0, least = Infinity;
    palette.forEach(([x, y, z], at) => {
      const away = (r - x) ** 2 * 2 + (g - y) ** 2 * 4 + (b - z) ** 2 * 3;
      if (away < least) [best, least] = [at, away];
    });
    place.set(one, best);
  }
  const bytes = new Uint8Array(data.length);
  for (let at = 0; at < data.length; at += 1) bytes[at] = place.get(data[at]);
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) {
    text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  }
  return {width, height, palette: palette.flat(), pixels: btoa(text)};
})()"""


@dataclass(frozen=True)
class _Indexed:
    width: int
    height: int
    palette: bytes
    pixels: bytes


def small_png(page: Page, screenshot: bytes) -> bytes:
    """Return the screenshot with as many colours as fit into MOST_BYTES.

    Args:
        page: an empty one, whose policy forbids nothing.

    Raises:
        ChromiumError: it does not fit with 16 colours.
    """
    for colours in (128, 64, 32, 16):
        script = _INDEXED % (base64.b64encode(screenshot).decode(), colours)
        told = page.evaluate(script)
        picture = _png(
            _Indexed(
                told["width"],
                told["height"],
                bytes(told["palette"]),
                base64.b64decode(told["pixels"]),
            )
        )
        if len(picture) <= MOST_BYTES:
            return picture
    raise ChromiumError(f"a picture has {len(picture)} bytes; at most {MOST_BYTES} are wanted")


def _png(image: _Indexed) -> bytes:
    """Encode as PNG (https://www.w3.org/TR/png-3/), colour type 3, every line unfiltered."""
    lines = (
        b"\0" + image.pixels[start : start + image.width]
        for start in range(0, len(image.pixels), image.width)
    )
    head = struct.pack(">IIBBBBB", image.width, image.height, 8, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", head),
            _chunk(b"PLTE", image.palette),
            _chunk(b"IDAT", zlib.compress(b"".join(lines), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
