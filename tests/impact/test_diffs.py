"""How many lines of rendered manifests a reviewer reads for an edit.

`make preview` shows the same lines of what the engine would change: tests/engine/test_changes.py.
"""

from __future__ import annotations

import re
from difflib import unified_diff
from pathlib import Path

import pytest
import yaml

from render.manifests import manifests
from render.program import run_program
from settings.loading import ROOT

MANY = [f"10.20.{number}.0/24" for number in range(200)]


def rendered(folder: Path, edit) -> dict[str, str]:
    document = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_text(encoding="utf-8"))
    edit({key.partition(":")[2]: value for key, value in document["config"].items()})
    file = folder / "Pulumi.edited.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return manifests(run_program("prod", file).resources)


def changed_lines(before: dict[str, str], after: dict[str, str]) -> int:
    total = 0
    for name in before.keys() | after.keys():
        texts = (files.get(name, "").splitlines() for files in (before, after))
        total += count_marked("\n".join(unified_diff(*texts, lineterm="")))
    return total


def count_marked(diff: str) -> int:
    """Return how many lines of a unified diff are added or removed."""
    return len(re.findall(r"^(?!--- |\+\+\+ )[-+]", diff, re.MULTILINE))


def ranges(*cidrs):
    return lambda keys: keys["vendors"][0].update(cidrs=list(cidrs))


def one_more_vendor(keys):
    keys["vendors"].append({"name": "vendor-d", "cidrs": ["10.9.0.0/16"], "httpPorts": [3128]})


EDITS = {
    "a range": (ranges("10.1.0.0/16"), ranges("10.1.0.0/17"), 10),
    "a range of 200": (ranges(*MANY), ranges(*MANY[:100], "10.30.7.0/24", *MANY[101:]), 10),
    "a range that leaves its chain": (
        # The range is alone in its chain before and after, with a third chain between the two.
        ranges("10.9.2.0/24", "10.9.8.0/24", "10.9.9.0/24"),
        ranges("10.9.0.0/24", "10.9.8.0/24", "10.9.9.0/24"),
        50,
    ),
    "a second range": (ranges("10.1.0.0/16"), ranges("10.1.0.0/16", "10.9.0.0/24"), 40),
    "a vendor": (lambda keys: None, one_more_vendor, 150),
    "a retention": (
        lambda keys: None,
        lambda keys: keys["prometheus"].update(retention="5d"),
        10,
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_reviewer_reads_what_changes(name, tmp_path):
    """A vendor's own filters are 117 lines of the 150, and 30 are its colour on the boards."""
    before, after, most = EDITS[name]
    assert 0 < changed_lines(rendered(tmp_path, before), rendered(tmp_path, after)) <= most
