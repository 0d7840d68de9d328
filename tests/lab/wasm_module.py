"""A proxy-wasm module assembled by hand: it counts nothing, and traps where a test wants it to.

The binary format is that of WebAssembly's core specification, chapter 5; the names of the hooks
are those of the proxy-wasm ABI 0.2.1.
"""

from __future__ import annotations

from collections.abc import Iterable

TRAPPING_BYTES = 666
"""Bytes that a crawler sends at once to have `trapping_module` trap."""

_I32 = b"\x7f"
_CONTINUE, _TRUE, _FALSE, _UNREACHABLE = b"\x41\x00", b"\x41\x01", b"\x41\x00", b"\x00"


def trapping_module() -> bytes:
    # if (length == TRAPPING_BYTES) { unreachable } return Continue
    condition = b"\x20\x01" + b"\x41" + _signed(TRAPPING_BYTES) + b"\x46"
    return _module(on_downstream_data=condition + b"\x04\x40" + _UNREACHABLE + b"\x0b" + _CONTINUE)


def refusing_module() -> bytes:
    """Return a module that takes no configuration."""
    return _module(on_configure=_FALSE)


def _module(*, on_downstream_data: bytes = _CONTINUE, on_configure: bytes = _TRUE) -> bytes:
    functions = {  # name: number of parameters, number of results, code
        "proxy_abi_version_0_2_1": (0, 0, b""),
        "proxy_on_memory_allocate": (1, 1, b"\x41" + _signed(1024)),
        "proxy_on_context_create": (2, 0, b""),
        "proxy_on_vm_start": (2, 1, _TRUE),
        "proxy_on_configure": (2, 1, on_configure),
        "proxy_on_new_connection": (1, 1, _CONTINUE),
        "proxy_on_downstream_data": (3, 1, on_downstream_data),
        "proxy_on_upstream_data": (3, 1, _CONTINUE),
    }
    types = [
        b"\x60" + _vector([_I32] * parameters) + _vector([_I32] * results)
        for parameters, results, _ in functions.values()
    ]
    exports = [
        _sized(name.encode()) + b"\x00" + _unsigned(index) for index, name in enumerate(functions)
    ]
    bodies = [_sized(b"\x00" + code + b"\x0b") for _, _, code in functions.values()]
    sections = {
        1: _vector(types),
        3: _vector(_unsigned(index) for index in range(len(functions))),
        5: _vector([b"\x00\x02"]),  # one memory of two pages
        7: _vector([*exports, _sized(b"memory") + b"\x02\x00"]),
        10: _vector(bodies),
    }
    parts = (bytes([number]) + _sized(content) for number, content in sections.items())
    return b"\x00asm\x01\x00\x00\x00" + b"".join(parts)


def _vector(items: Iterable[bytes]) -> bytes:
    listed = list(items)
    return _unsigned(len(listed)) + b"".join(listed)


def _sized(content: bytes) -> bytes:
    return _unsigned(len(content)) + content


def _unsigned(number: int) -> bytes:
    """Return a number in LEB128."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _unsigned(rest) if rest else bytes([low])


def _signed(number: int) -> bytes:
    """Return a positive number in signed LEB128."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low]) if rest == 0 and low < 0x40 else bytes([low | 0x80]) + _signed(rest)
