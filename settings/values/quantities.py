"""Durations, sizes, shares and quantities, read from the text that an operator writes.

Every parser raises `ValueError` with "reason; remedy". GB is 10^9 bytes, Gi (or GiB) is 2^30.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import Field, StrictFloat, StrictStr
from pydantic.functional_validators import PlainValidator

from settings.values.checked_text import Text, text, titled

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

# Kubernetes' suffixes, and the same with a B as disk vendors write them.
BYTES = {
    "B": 1,
    **{
        spelling: factor
        for power, prefix in enumerate("kMGT", start=1)
        for spelling, factor in (
            (prefix, 1000**power),
            (f"{prefix.upper()}B", 1000**power),
            (f"{prefix.upper()}i", 1024**power),
            (f"{prefix.upper()}iB", 1024**power),
        )
    },
}

LONGEST_DURATION = 10 * 365 * 86400  # ten years: beyond it is a slip of the keyboard


def parse_duration(value: object) -> int:
    """Read "30s", "10m", "1h30m" or "7d" as whole seconds, at least 1."""
    written = text(value, "30s, 10m, 1h30m or 7d")
    if not re.fullmatch(r"([0-9]{1,9}[smhdw])+", written):
        raise ValueError("is not a duration; write whole numbers with units, like 30s, 10m or 7d")
    seconds = sum(int(n) * SECONDS[unit] for n, unit in re.findall(r"([0-9]+)([smhdw])", written))
    if seconds < 1:
        raise ValueError("is no time at all; write 1s or more")
    if seconds > LONGEST_DURATION:
        raise ValueError("is longer than ten years; write 3650d or less")
    return seconds


def format_duration(seconds: int) -> str:
    """Write seconds in as few units as are exact: 604800 is "7d", 5400 is "1h30m".

    Weeks are left out: Prometheus and Envoy read d, h, m and s alike.
    """
    if seconds == 0:
        return "0s"
    text = ""
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, SECONDS[unit])
        text += f"{count}{unit}" if count else ""
    return text


def parse_bytes(value: object) -> int:
    """Read "50Gi", "40GB", "512M" as bytes, at least 1."""
    written = text(value, "50Gi or 40GB")
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,6})?)([A-Za-z]{1,3})", written)
    if not match or match[2] not in BYTES:
        raise ValueError("is not a size; write a number and its unit, like 50Gi or 40GB")
    size = Fraction(match[1]) * BYTES[match[2]]
    if size.denominator != 1 or size < 1:
        raise ValueError("is not a whole number of bytes; write it in a smaller unit")
    return int(size)


def format_bytes(size: int) -> str:
    """Write bytes in the largest unit that is exact: 53687091200 is "50Gi"."""
    for suffix in ("Ti", "T", "Gi", "G", "Mi", "M", "Ki", "k"):
        if size and size % BYTES[suffix] == 0:
            return f"{size // BYTES[suffix]}{suffix}"
    return f"{size}B"


def parse_share(value: object) -> float:
    """Read "95%" or "99.5%" as a part of one, above 0 and below 1."""
    written = text(value, '"95%" or "99.5%"')
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?%", written):
        raise ValueError("is not a share; write a percentage, like 95% or 99.5%")
    share = Fraction(written[:-1]) / 100
    if not 0 < share < 1:
        raise ValueError("is all or nothing; write more than 0% and less than 100%")
    return float(share)


def format_share(share: float) -> str:
    """Write a part of one as a percentage: 0.995 is "99.5%"."""
    return f"{share * 100:.3f}".rstrip("0").rstrip(".") + "%"


def cpu_millis(quantity: str) -> int:
    """Thousandths of a core: "100m" is 100, "2" is 2000."""
    if quantity.endswith("m"):
        return int(quantity[:-1])
    return int(Fraction(quantity) * 1000)


def memory_bytes(quantity: str) -> int:
    """Bytes of a memory quantity: "256M" is 256,000,000."""
    return parse_bytes(quantity)


Duration = Annotated[int, PlainValidator(parse_duration), titled("duration")]
Bytes = Annotated[int, PlainValidator(parse_bytes), titled("size")]
Share = Annotated[float, PlainValidator(parse_share), titled("percentage")]
CpuQuantity = Annotated[
    StrictStr,
    Text(
        "CPU",
        r"(?=.*[1-9])([0-9]{1,6}m|[0-9]{1,4}(\.[0-9]{1,3})?)",
        'is not an amount of CPU above 0; write cores or thousandths, like "2" or "100m"',
    ),
]
# A bare number, or `m` (thousandths), is a legal quantity of memory and always a mistake.
MemoryQuantity = Annotated[
    StrictStr,
    Text(
        "memory",
        r"[1-9][0-9]{0,11}([kMGT]|[KMGT]i)",
        "is not an amount of memory above 0; write a whole number and one of "
        "k, M, G, T, Ki, Mi, Gi, Ti, like 256M",
    ),
]
Amount = Annotated[StrictFloat, Field(ge=0, le=10**6, allow_inf_nan=False)]
Gigabytes = Annotated[StrictFloat, Field(gt=0, le=10**6, allow_inf_nan=False)]
