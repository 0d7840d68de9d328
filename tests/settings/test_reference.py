"""The pages and files that repeat the models say what the models say."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from settings import reference
from settings.loading import PROJECT, ROOT, settings_of_config
from settings.schema import keys
from settings.stack import StackSettings


@pytest.mark.parametrize("name", ["PAGE", "SCHEMA"])
def test_what_repeats_the_models_is_fresh(name, monkeypatch, tmp_path, capsys):
    """docs/configuration.md and docs/stack.schema.json are what `make docs` writes."""
    assert reference.main(["--check"]) == 0
    stale = tmp_path / "stale"
    monkeypatch.setattr(reference, name, stale)
    monkeypatch.setattr(reference, "PAGE" if name == "SCHEMA" else "SCHEMA", tmp_path / "other")
    assert reference.main(["--check"]) == 1
    assert "stale: is stale; run python -m settings.reference" in capsys.readouterr().err
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0


def test_every_key_is_on_the_page():
    """No key without its row: path, type and default, meaning in a sentence."""
    page = reference.PAGE.read_text()
    # One row for the section.
    collapsed = ("vendors[].alerts.", "destinations[].hosts[].", ".resources.", "sidecar.")
    collapsed += ("vendors[].billing[].", "products[].billing.", "products[].billing[].")
    for key in keys().values():
        assert key.description.endswith("."), key.path
        if any(part in f".{key.path}" for part in collapsed):
            continue
        row = next(line for line in page.splitlines() if line.startswith(f"`{key.path}` |"))
        assert all(cell.strip() for cell in row.split("|")), row


def test_an_editor_knows_every_key():
    """The schema is of stack files, and refers to nothing that it lacks."""
    text = reference.SCHEMA.read_text()
    schema = json.loads(text)
    config = schema["properties"]["config"]
    assert config["properties"].keys() == {
        f"{PROJECT}:{key.path}" for key in keys().values() if key.path == key.name
    }
    assert set(re.findall(r'"#/\$defs/(\w+)"', text)) <= schema["$defs"].keys()
    allowed = re.compile(config["propertyNames"]["pattern"])
    assert allowed.search("kubernetes:context")
    assert allowed.search(f"{PROJECT}:vendors")
    assert not allowed.search(f"{PROJECT}:vendor")


def test_pulumi_yaml_lists_the_models_keys():
    """`pulumi config` shows the same keys, with the same words, as the models."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    assert project["name"] == PROJECT
    own = {k: v for k, v in project["config"].items() if k.startswith(f"{PROJECT}:")}
    assert {name: entry["description"] for name, entry in own.items()} == {
        f"{PROJECT}:{key.path}": key.description for key in keys().values() if key.path == key.name
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
    given = settings_of_config(config, ())
    assert given == settings_of_config(
        {name: config[name] for name in (f"{PROJECT}:cluster", f"{PROJECT}:vendors")}, ()
    )
