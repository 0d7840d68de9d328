"""The pages and files that repeat the models say what the models say."""

from __future__ import annotations

import yaml

from settings import reference
from settings.keys import KEYS
from settings.loading import PROJECT, ROOT, settings_of_pulumi_config
from settings.model import StackSettings


def test_the_page_is_fresh():
    """docs/configuration.md is what `python -m settings.reference` writes."""
    assert reference.main(["--check"]) == 0


def test_a_stale_page_is_noticed(monkeypatch, tmp_path, capsys):
    """An edited description without a rewritten page fails the check; writing mends it."""
    monkeypatch.setattr(reference, "PAGE", tmp_path / "configuration.md")
    assert reference.main(["--check"]) == 1
    assert "run python -m settings.reference" in capsys.readouterr().err
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0


def test_every_key_is_on_the_page():
    """No key without its row: path, type, default, meaning."""
    page = reference.PAGE.read_text()
    for key in KEYS.values():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{key.path}` |"))
        assert key.field.description
        assert all(cell.strip() for cell in row.replace("\\|", "").split("|")[1:-1]), row


def test_every_meaning_is_a_sentence():
    """A description that repeats the key's name helps nobody."""
    for key in KEYS.values():
        meaning = key.field.description or ""
        assert meaning.endswith("."), key.path
        assert len(meaning.split()) >= 3, key.path


def test_pulumi_yaml_lists_the_models_keys():
    """`pulumi config` shows the same keys, with the same words, as the models."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    assert project["name"] == PROJECT
    assert {name: entry["description"] for name, entry in project["config"].items()} == {
        f"{PROJECT}:{field.alias}": field.description
        for field in StackSettings.model_fields.values()
    }


def test_pulumi_yaml_requires_what_the_models_require():
    """The engine refuses a typed key without a value, unless Pulumi.yaml has a default."""
    entries = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    for field in StackSettings.model_fields.values():
        entry = entries[f"{PROJECT}:{field.alias}"]
        assert ("default" in entry) is not field.is_required()
        assert (entry["type"] == "array") is (entry.get("items") == {"type": "object"})


def test_pulumi_yamls_defaults_are_the_models_defaults():
    """A key left out and the engine's `{}` for it end in the same settings."""
    entries = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    config = {name: str(entry["default"]) for name, entry in entries.items() if "default" in entry}
    config[f"{PROJECT}:cluster"] = "dev"
    config[f"{PROJECT}:vendors"] = '[{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]'
    given = settings_of_pulumi_config(config)
    assert given == settings_of_pulumi_config(
        {name: config[name] for name in (f"{PROJECT}:cluster", f"{PROJECT}:vendors")}
    )
