"""Every wrong stack file beside this one is refused with the words in its .txt."""

from __future__ import annotations

from pathlib import Path

import pytest

from settings.loading import MissingStackFileError, SettingsError, load_stack_file

WRONG = sorted((Path(__file__).parent / "wrong").glob("*.yaml"))


def findings_of(path: Path) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        load_stack_file(path)
    return refused.value.findings


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_a_wrong_file_is_refused_in_these_words(path):
    """An operator reads the whole message: a changed word is a change someone must want."""
    assert "\n".join(findings_of(path)) + "\n" == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_no_message_is_pydantics(path):
    """The library's own English names Python types and no fix."""
    for finding in findings_of(path):
        assert "Input" not in finding
        assert "pydantic" not in finding
        assert "Value error" not in finding
        assert "is not accepted" not in finding  # the words for a type of error we don't know


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_a_finding_is_one_line_and_ends_in_what_to_do(path):
    """CI shows a finding a line; a reason without a fix leaves the operator guessing."""
    for finding in findings_of(path):
        assert finding.isprintable()
        where, colon, what = finding.partition(": ")
        assert where, finding
        assert colon, finding
        assert "; " in what, finding


def test_no_secret_is_repeated():
    """CI logs are read by many: values under secret-looking keys stay out of messages."""
    told = "\n".join(finding for path in WRONG for finding in findings_of(path))
    assert "hunter2" not in told
    assert "v1:abcdefgh" not in told


def test_every_mistake_of_a_file_is_told():
    """Keys that are wrong by themselves take one round of corrections, not one each."""
    path = Path(__file__).parent / "wrong" / "six-mistakes.yaml"
    assert len(findings_of(path)) == 4


def test_a_stack_that_does_not_exist(tmp_path):
    """A misspelt stack is told which stacks there are."""
    (tmp_path / "Pulumi.prod.yaml").write_text("config: {}\n")
    with pytest.raises(MissingStackFileError) as refused:
        load_stack_file(tmp_path / "Pulumi.prd.yaml")
    assert str(refused.value) == (
        "Pulumi.prd.yaml: there is no such file; there are Pulumi.prod.yaml"
    )


def test_a_stack_file_that_is_a_folder(tmp_path):
    """A path that can't be read is told apart from a wrong file."""
    with pytest.raises(MissingStackFileError, match="can't be read"):
        load_stack_file(tmp_path)


def test_a_file_in_another_encoding(tmp_path):
    """A file saved as Latin-1 is refused by name, not by a traceback."""
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_bytes("config: {}  # für\n".encode("latin-1"))
    assert findings_of(path) == ("Pulumi.dev.yaml: is not UTF-8 text; save it as UTF-8",)


def test_a_file_nested_too_deep(tmp_path):
    """A file of brackets ends in a sentence, not in a RecursionError."""
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text("config: " + "[" * 1000 + "]" * 1000)
    assert findings_of(path)[0].startswith("Pulumi.dev.yaml: is not YAML, it cannot be read")


def test_the_folder_holds_pairs():
    """A message without its file, or the other way round, would test nothing."""
    folder = Path(__file__).parent / "wrong"
    assert {path.stem for path in folder.glob("*.txt")} == {path.stem for path in WRONG}
    assert len(WRONG) >= 45
