"""Files of ranges, as `vendors[].cidrsFile` names them: one range a line.

    # ranges/vendor-a.txt
    10.1.0.0/16
    10.1.8.0/24 residential

A range, white space, its pool; `#` begins a comment. As in `settings.values` a `ValueError`
says "reason; fix", and whoever catches it puts the key and the value in front.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from settings.sentences import shown
from settings.values import AddressRange, check_dns_label, parse_vendor_network

MOST_TOLD = 20  # mistakes of one file: a generated one has the same in every line

Value = TypeVar("Value")


def read_ranges(file: str, root: Path) -> tuple[list[AddressRange], list[str]]:
    """The good ranges of a file, and a finding for each line that is wrong.

    Args:
        file: path below `root`, as `settings.values.check_path_in_root` takes it.

    Raises:
        ValueError: it can't be read, or holds no range.
    """
    ranges: list[AddressRange] = []
    findings: list[str] = []
    for number, line in enumerate(lines_of(file, root), start=1):
        words = line.partition("#")[0].split()
        where = f"{file}:{number}"
        try:
            if words:
                ranges.append(range_of(words, where))
        except ValueError as error:
            findings.append(f"{where}: {error}")
    if not ranges and not findings:
        raise ValueError("holds no range; write one a line, like 10.1.0.0/16")
    return ranges, capped(file, findings)


def lines_of(file: str, root: Path) -> list[str]:
    path = Path(os.path.realpath(root / file))
    if not path.is_relative_to(os.path.realpath(root)):
        raise ValueError("is a link out of the project; put the file itself there")
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise ValueError("is not a file; name one with a range a line")
        # Not splitlines: an editor counts no line at a form feed.
        return path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise ValueError(
            f"cannot be read ({error.strerror}); write the path from the project's root"
        ) from None


def range_of(words: Sequence[str], where: str) -> AddressRange:
    if len(words) > 2:
        raise ValueError(
            f"more than a range and its pool follow each other, after {shown(words[0])}; "
            "write one range a line, like 10.1.8.0/24 residential"
        )
    network = read(parse_vendor_network, words[0])
    if len(words) == 1:
        return AddressRange(network, "", where)
    try:
        pool = check_dns_label(words[1])
    except ValueError as error:  # the word itself may be a password
        raise ValueError(f"the pool behind {shown(words[0])} {error}") from None
    return AddressRange(network, pool, where)


def read(reader: Callable[[str], Value], text: str) -> Value:
    try:
        return reader(text)
    except ValueError as error:
        raise ValueError(f"{shown(text)} {error}") from None


def capped(file: str, findings: Sequence[str]) -> list[str]:
    """The first findings about a file, and how many more there are."""
    more = len(findings) - MOST_TOLD
    rest = [f"{file}: has {more} more mistakes; correct the first ones"] if more > 0 else []
    return [*findings[:MOST_TOLD], *rest]
