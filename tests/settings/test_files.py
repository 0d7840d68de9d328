"""A stack file that is wrong as a file is refused with its line."""

from __future__ import annotations

import pytest

from settings.loading import MissingStackFileError, SettingsError, load_stack_file

VENDORS = "  proxy-observability:vendors: [{name: vendor-a, cidrs: [10.1.0.0/16]}]\n"
START = f"config:\n  proxy-observability:cluster: dev\n{VENDORS}"
SECRETS = START + "  proxy-observability:alertmanagerSecrets: "

# A file, and everything that is said of it after the file's name.
FILES = {
    "": [": is not a mapping; begin it with 'config:' and indent the rest"],
    "- vendor-a\n": [": is not a mapping; begin it with 'config:' and indent the rest"],
    "config:\n": [
        ": config is not a mapping; write 'config:' and under it 'proxy-observability:cluster: …'"
    ],
    f"grafana: {{}}\n{START}": [
        ": 'grafana' is no key of Pulumi's; a setting goes under config, as "
        "'proxy-observability:grafana'"
    ],
    f"{START}  crawlers: {{}}\n  1: dev\n": [
        ": key 'crawlers' of config names no project; write it as 'proxy-observability:crawlers'",
        ": key '1' of config names no project; write it as 'proxy-observability:1'",
    ],
    f"{START}  proxy-observabilty:grafana: {{}}\n": [
        ": key 'proxy-observabilty:grafana' of config is another project's; did you mean "
        "'proxy-observability:grafana'?"
    ],
    f"{START}  proxy-observability:cluster: prod\n": [
        ":4: key 'proxy-observability:cluster' stands twice in one mapping; keep one"
    ],
    f"{START}\tkubernetes:context: dev\n": [
        ":4: is not YAML, found character '\\t' that cannot start any token; correct this line or "
        "the one above"
    ],
    START.replace("]}]", "}]"): [
        ":3: is not YAML, expected ',' or ']', but got '}'; correct this line or the one above"
    ],
    f"{START}---\nconfig: {{}}\n": [
        ":4: is not YAML, but found another document; correct this line or the one above"
    ],
    "config: !!python/object/apply:os.system [id]\n": [
        ":1: is not YAML, could not determine a constructor for the tag "
        "…; correct this line or the one above"
    ],
    f"{START}\x01": [
        ": is not YAML, it cannot be read; correct this line or the one above",
    ],
    "config: " + "[" * 1000: [
        ": is not YAML, it cannot be read; correct this line or the one above",
    ],
    f"{START}  other:notes: &all [*all]\n": [": is nested without end; write it out"],
}


def findings_of(path) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        load_stack_file(path)
    return refused.value.findings


@pytest.mark.parametrize(("text", "said"), FILES.items())
def test_a_wrong_file_is_refused_in_these_words(tmp_path, text, said):
    """The line is where an editor goes to."""
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(text)
    assert list(findings_of(path)) == [f"Pulumi.dev.yaml{one}" for one in said]


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        (
            "{oncall: hunter2, team: {secure: v1:abc}}",
            "alertmanagerSecrets.oncall: is in clear text; revoke it where it was issued, and set "
            "the new one with `pulumi config set --secret --path "
            "proxy-observability:alertmanagerSecrets.oncall`",
        ),
        (
            "{secure: v1:abc}",
            "alertmanagerSecrets: is encrypted as a whole, so its names cannot be checked; set "
            "each with `pulumi config set --secret --path "
            "proxy-observability:alertmanagerSecrets.NAME`",
        ),
    ],
)
def test_a_credential_that_is_not_encrypted_by_itself(tmp_path, secrets, said):
    """Anybody who reads the file would read it; the message does not repeat it."""
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(f"{SECRETS}{secrets}\n")
    assert findings_of(path) == (said,)


def test_a_stack_that_does_not_exist(tmp_path):
    """The refusal of a misspelt stack lists the stacks there are."""
    (tmp_path / "Pulumi.prod.yaml").write_text(START)
    with pytest.raises(MissingStackFileError) as refused:
        load_stack_file(tmp_path / "Pulumi.prd.yaml")
    assert str(refused.value) == (
        "Pulumi.prd.yaml: there is no such file; there are Pulumi.prod.yaml"
    )


def test_a_stack_file_that_is_a_folder(tmp_path):
    """A path that can't be read is no wrong file: another exit code."""
    with pytest.raises(MissingStackFileError, match="can't be read"):
        load_stack_file(tmp_path)


def test_a_file_in_another_encoding(tmp_path):
    """A file saved as Latin-1 is refused by name, not by a traceback."""
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_bytes("config: {}  # für\n".encode("latin-1"))
    assert findings_of(path) == ("Pulumi.dev.yaml: is not UTF-8 text; save it as UTF-8",)
