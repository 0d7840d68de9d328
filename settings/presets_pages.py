"""The pages of docs/vendors, from the files of `presets/`. `settings.reference` writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml

from settings.presets import FOLDER, DocumentedAnswer, Gateway, Preset, Source, preset, preset_names

PAGES = FOLDER.parent / "docs" / "vendors"

INDEX = """# Vendors that have a preset

`- {name: resi, preset: bright-data}` in a stack file is a whole vendor: its names and ports, what
is read as HTTP, and what its own answers mean. A key that the stack writes replaces the preset's:
a team that adds a name to `hosts` copies those of the preset, from the end of the vendor's page.
Addresses under `cidrs` stand beside the names of the preset; `hosts: []` leaves those out.
Each fact has the page of the vendor that says it and the month of the last check, and vendors
change theirs without notice. None of them takes part in this project.

An answer that cannot be told apart is one whose status a site may send as well, or to which the
vendor gives two meanings; it counts by the [general table](../architecture.md#outcomes).
"""


def pages() -> dict[Path, str]:
    """Return the text of each page."""
    found = {PAGES / f"{name}.md": page(name, preset(name)) for name in preset_names()}
    rows = [
        f"[{one.title}]({name}.md) | `{name}` | {codes(host['name'] for host in hosts(one))} | "
        f"{len(one.answers)} | {sum(bool(answer.unclear) for answer in one.answers)}"
        for name, one in ((name, preset(name)) for name in preset_names())
    ]
    head = "vendor | preset | names | documented answers | not told apart"
    return {PAGES / "README.md": f"{INDEX}\n{table(head, rows)}", **found}


def hosts(one: Preset) -> list[dict[str, str]]:
    return list(one.vendor.get("hosts", ()))


def page(name: str, one: Preset) -> str:
    keys = yaml.safe_dump(dict(one.vendor), sort_keys=False, default_flow_style=None, width=100)
    parts = [
        f"# {one.title}\n\nWritten from `presets/{name}.yaml` by `make docs`.",
        f"```yaml\n- {{name: example, preset: {name}}}\n```",
        f"User name: {one.user}",
    ]
    if one.products:
        example = ", ".join(
            f"{{user: {quoted(each.user)}, name: {each.name}}}" for each in one.products
        )
        parts.append(f"Products, as an example:\n\n```yaml\nproducts: [{example}]\n```")
    parts += ["\n".join(f"- {note}" for note in one.notes)] if one.notes else []
    parts += [
        "## Gateways\n\n" + table("name | ports | there", map(gateway, one.gateways)).rstrip(),
        "## Answers\n\n(In parentheses): not told apart from a site's own answer, or from another "
        "meaning ([how it counts then](../architecture.md#outcomes)).\n\n"
        + table(
            "status | header | to | counts as | means | source",
            map(answer_row, one.answers),
        ).rstrip(),
        f"## Money\n\n{one.billing}{terms(one)}\n\nUsage: {one.usage}.",
        "## Sources\n\n" + "\n".join(source(*each) for each in one.sources.items()),
        f"## What the preset writes\n\n```yaml\n{keys.rstrip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def terms(one: Preset) -> str:
    if not one.terms:
        return ""
    written = yaml.safe_dump(dict(one.terms), sort_keys=False, default_flow_style=True, width=999)
    return f" The preset completes a `billing` with `{written.strip()}`."


def table(head: str, rows: Iterable[str]) -> str:
    return "\n".join([head, "|".join(["---"] * len(head.split(" | "))), *rows]) + "\n"


def codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def quoted(text: str) -> str:
    return f'"{text}"' if text.startswith("*") else text


def gateway(one: Gateway) -> str:
    return f"`{one.name}` | {', '.join(map(str, one.ports))} | {one.speaks}"


def answer_row(answer: DocumentedAnswer) -> str:
    names = {"plain": "plain", "tunnel": "CONNECT"}
    clear = [names[kind] for kind in answer.kinds if kind not in answer.unclear]
    unclear = [names[kind] for kind in answer.kinds if kind in answer.unclear]
    to = " ".join([*clear, *(f"({kind})" for kind in unclear)])
    header = codes(f"{name}: {value}" for name, value in answer.headers.items()) or "-"
    meaning = f"`{answer.meaning}`" if clear else "not told apart"
    return " | ".join([str(answer.status), header, to, meaning, answer.text, f"{answer.source}"])


def source(name: str, one: Source) -> str:
    return f"- {name}: <{one.page}>, read {one.read}"
