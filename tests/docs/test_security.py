"""docs/security.md is what the program deploys."""

from __future__ import annotations

from render.program import run_program
from render.security import PAGE, STACKS, page
from settings.loading import ROOT


def test_the_page_is_as_the_program_has_it():
    """`make docs` writes it."""
    runs = [run_program(stack, ROOT / f"Pulumi.{stack}.yaml") for stack in STACKS]
    assert PAGE.read_text(encoding="utf-8") == page(runs)


def test_every_secret_of_a_shipped_stack_is_read_by_somebody():
    """A Secret that no pod reads is one too many, or its reader was not found."""
    rows = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    secrets = [row for row in rows if len(row) == 3 and "-…" in row[0]]
    assert len(secrets) > 5
    assert [row for row in secrets if not row[2]] == []
