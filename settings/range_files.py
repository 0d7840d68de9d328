"""Files of ranges, as `vendors[].cidrsFile` names them: one range a line.

    # ranges/vendor-a.txt
    10.1.0.0/16
    10.1.8.0/24 residential

A range, white space, its pool; `#` begins a comment. Nothing of a line but a word in the form of
an address is printed: lists that vendors sell hold passwords.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from settings.masking import kind_of_proxy, quoted_address
from settings.values.addresses import parse_vendor_network
from settings.values.handed_out import REFUSALS, refusal_of
from settings.values.kubernetes import DNS_LABEL
from settings.values.texts import PATH_IN_ROOT
from settings.vendors import AddressRange

MOST_FINDINGS = 5  # of one file: a generated one has the same mistake in every line


def read_ranges(file: str, root: Path) -> tuple[list[AddressRange], list[str]]:
    """The good ranges of a file, and a finding for each line that is wrong.

    Raises:
        ValueError: `file` is no path below `root`, can't be read, or holds no range.
    """
    PATH_IN_ROOT.check(file)
    ranges: list[AddressRange] = []
    findings: list[str] = []
    lines = lines_of(root / file)
    if kind_of_proxy("\n".join(lines).strip()) == "JSON":  # else its every line is a mistake
        return [], [f"{file}: {REFUSALS['JSON']}, one a line"]
    for number, line in enumerate(lines, start=1):
        content = line.partition("#")[0].strip()
        where = f"{file}:{number}"
        try:
            if content:
                ranges.append(range_of(content, where))
        except ValueError as error:
            # A password may hold a "#".
            login = kind_of_proxy(line) == "login" and refusal_of(line)
            findings.append(f"{where}: {f'{quoted_address(line)} {login}' if login else error}")
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


def range_of(line: str, where: str) -> AddressRange:
    words = line.split()
    address = quoted_address(words[0])
    whole = refusal_of(line) if len(words) > 1 else None
    if whole:  # of a table with tabs or spaces, say
        raise ValueError(f"{quoted_address(line)} {whole}")
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
