"""Files of ranges, as `vendors[].cidrsFile` names them: one range a line.

    # ranges/vendor-a.txt
    10.1.0.0/16
    10.1.8.0/24 residential

A range, white space, its pool; `#` begins a comment. Nothing of a line but its address is
printed: lists that vendors sell hold passwords.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from settings.messages import printed
from settings.values.addresses import parse_vendor_network
from settings.values.kubernetes import DNS_LABEL
from settings.values.texts import PATH_IN_ROOT
from settings.vendors import AddressRange

MOST_FINDINGS = 20  # of one file: a generated one has the same mistake in every line


def read_ranges(file: str, root: Path) -> tuple[list[AddressRange], list[str]]:
    """The good ranges of a file, and a finding for each line that is wrong.

    Raises:
        ValueError: `file` is no path below `root`, can't be read, or holds no range.
    """
    PATH_IN_ROOT.check(file)
    ranges: list[AddressRange] = []
    findings: list[str] = []
    for number, line in enumerate(lines_of(root / file), start=1):
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


def lines_of(path: Path) -> list[str]:
    try:
        # Not splitlines: an editor counts no line at a form feed.
        return path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise ValueError(
            f"cannot be read ({error.strerror}); write the path from the project's root"
        ) from None


def range_of(words: Sequence[str], where: str) -> AddressRange:
    address = printed(words[0])
    try:
        network = parse_vendor_network(words[0])
    except ValueError as error:
        raise ValueError(f"{address} {error}") from None
    if len(words) > 2:
        raise ValueError(
            f"{address} has more than a pool behind it; write one range a line, "
            "like 10.1.8.0/24 residential"
        )
    try:
        return AddressRange(network, DNS_LABEL.check(words[1]) if len(words) == 2 else "", where)
    except ValueError as error:
        raise ValueError(f"the pool behind {address} {error}") from None


def capped(file: str, findings: Sequence[str]) -> list[str]:
    """The first findings about a file, and how many more there are."""
    more = len(findings) - MOST_FINDINGS
    rest = [f"{file}: has {more} more mistakes; correct the first ones"] if more > 0 else []
    return [*findings[:MOST_FINDINGS], *rest]
