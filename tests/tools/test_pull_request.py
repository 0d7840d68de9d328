"""The comment on a pull request: text in, Markdown out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.pull_request import MARKER, MOST_CHARACTERS, Stack, comment, main, read


def stack(name: str, impact: str = "", trouble: str = "", preview: str = "") -> Stack:
    return Stack(name=name, impact=impact, trouble=trouble, preview=preview)


def test_every_impact_comes_before_the_first_preview() -> None:
    """A reader sees what is refused without opening anything; the marker is the first line."""
    text = comment(
        [
            stack("dev", impact="## Impact on dev\n\nNo effect.", preview="~ a"),
            stack("prod", trouble="BASE: has no Pulumi.prod.yaml", preview="+ b"),
        ]
    )
    assert text == (
        f"{MARKER}\n\n## Impact on dev\n\nNo effect.\n\n"
        "## Impact on prod\n\nNot compared:\n```\nBASE: has no Pulumi.prod.yaml\n```\n\n"
        "<details><summary>`make preview` of dev</summary>\n\n```diff\n~ a\n```\n"
        "</details>\n\n"
        "<details><summary>`make preview` of prod</summary>\n\n```diff\n+ b\n```\n"
        "</details>"
    )


@pytest.mark.parametrize("lines", [10, 2_000, 100_000])
def test_it_is_never_longer_than_github_takes(lines: int) -> None:
    """GitHub would refuse the whole comment; each cut says so, and whole lines stay."""
    long = "\n".join(f"  ~ line {number} of a preview" for number in range(lines))
    impact = "## Impact on dev\n\n" + long
    stacks = [stack("dev", impact=impact, preview=long), stack("prod", trouble="x", preview=long)]
    text = comment(stacks)
    assert len(text) <= MOST_CHARACTERS
    is_cut = lines > 1_000
    assert text.count("more lines; the workflow's artifact has all of them") == 3 * is_cut
    assert text.count("```") == 6  # each fence is closed
    assert text.endswith("</details>")
    if is_cut:
        assert len(text) > 0.95 * MOST_CHARACTERS  # what is short leaves its room to the others


def test_a_short_part_is_whole_beside_a_long_one() -> None:
    """What is refused must not be cut for a long preview."""
    text = comment([stack("dev", impact="Refused: a.", preview="x\n" * 100_000)])
    assert "Refused: a.\n" in text
    assert len(text) <= MOST_CHARACTERS


def test_text_that_is_shown_cannot_end_its_fence() -> None:
    """A preview holds text of the pull request; a link or mention in it stays text."""
    text = comment([stack("dev", impact="I", preview="````\n@everyone [x](y)\n````")])
    assert "\n`````diff\n````\n@everyone [x](y)\n````\n`````\n" in text


def test_what_was_written_is_read_a_folder_a_stack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Colours and control characters go; a stack without anything is said."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "impact.md").write_text("## Impact on dev\n")
    (tmp_path / "dev" / "preview.txt").write_bytes(b"\x1b[31m- gone\x1b[0m\x00\xff\n")
    (tmp_path / "prod").mkdir()
    assert read(tmp_path) == [
        stack("dev", impact="## Impact on dev", preview="- gone\N{REPLACEMENT CHARACTER}"),
        stack("prod"),
    ]
    assert main([str(tmp_path)]) == 0
    assert "make impact wrote nothing" in capsys.readouterr().out
    assert main([]) == 2


def test_a_stack_s_name_and_odd_characters_are_no_markdown(tmp_path: Path) -> None:
    """A pull request may add Pulumi.<!--.yaml, which would hide all that follows."""
    folder = tmp_path / "@team <!-- `x`"
    folder.mkdir()
    (folder / "impact.txt").write_text("a\u202eb\u2066c\u2028d\x9b31m")
    text = comment(read(tmp_path))
    assert "## Impact on ?team???--??x?\n" in text
    assert "\nabcd31m\n" in text
