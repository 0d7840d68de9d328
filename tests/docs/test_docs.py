"""What the pages promise is there: targets, files, links, outcomes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from components.attribution.outcome import proxy_outcome

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_targets_of_a_page_exist(page):
    """A newcomer follows a link, types a command, and neither leads nowhere."""
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert link.startswith("https://") or (page.parent / link).exists(), link
    for target in re.findall(r"\bmake ([a-z-]+)", " ".join(re.findall(r"`([^`]+)`", text))):
        assert target in targets(), target
    for path in re.findall(
        r"`((?:docs|lab|tests|settings|components|rules|lua|tools)/[\w./-]+)`", text
    ):
        assert (ROOT / path).exists(), path


def test_the_readme_shows_what_was_really_printed():
    """No placeholder where a picture should be."""
    text = (ROOT / "README.md").read_text()
    assert "_PICTURE" not in text
    assert re.search(r"attribution: (\d{6,}) of \1 exact", text)
    assert (ROOT / "docs" / "demo.png").stat().st_size > 20_000


def test_every_outcome_is_explained():
    """Whoever meets a label's value finds what it means."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    for outcome in set(re.findall(r"'([a-z_]+)'", proxy_outcome(10))) & {
        *("rejected", "connect_failed", "timeout", "reset", "client_cancelled", "auth_challenge"),
        *("auth_failed", "quota_exhausted", "rate_limited", "blocked", "vendor_error"),
        *("target_error", "success"),
    }:
        assert f"`{outcome}`" in text, outcome


def test_the_help_fits_a_terminal_and_names_every_target():
    """`make help` is the first thing typed."""
    makefile = (ROOT / "Makefile").read_text()
    lines = re.findall(r"^([a-z-]+):.*## (.*)$", makefile, re.MULTILINE)
    assert {name for name, _ in lines} == targets()
    assert all(len(f"  {name:<12} {text}") <= 100 for name, text in lines)


def test_nothing_of_a_machine_is_in_the_repository():
    """Paths of one developer's machine break on every other."""
    for page in PAGES:
        assert not re.search(r"(^|[\s`(])/(root|home|work)/", page.read_text()), page
