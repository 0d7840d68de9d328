"""The door: files, the engine's configuration, and plain values end in the same settings."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from settings.loading import (
    PROJECT,
    ROOT,
    SettingsError,
    load_stack_file,
    parse_settings,
    settings_of_config,
    stack_file,
)
from settings.schema import keys
from settings.stack import StackSettings
from settings.values.addresses import PortRange, parse_network
from settings.vendors import AddressRange

SHIPPED = [ROOT / "Pulumi.dev.yaml", ROOT / "Pulumi.prod.yaml", ROOT / "lab" / "Pulumi.lab.yaml"]
SECRETS = (f"{PROJECT}:alertmanagerSecrets",)
SMALLEST = {"cluster": "dev", "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]}


def as_engine(stack: Mapping[str, object]) -> dict[str, str]:
    """Return a stack's keys as the engine hands them over."""
    return {
        f"{PROJECT}:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in stack.items()
    }


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_engine_and_the_file_agree(path):
    """What `make render` showed is what `pulumi up` deploys."""
    written = yaml.safe_load(path.read_text())["config"]
    # The engine adds Pulumi.yaml's defaults and other programs' namespaces.
    config = {
        f"{PROJECT}:network": "{}",
        f"{PROJECT}:telemetry": "{}",
        "kubernetes:context": "dev",
        **as_engine({name.removeprefix(f"{PROJECT}:"): value for name, value in written.items()}),
    }
    assert settings_of_config(config, ()) == load_stack_file(path)


@pytest.mark.parametrize("written", ["off", "'off'"])
def test_the_kill_switch_needs_no_quotes(written, tmp_path):
    """PyYAML alone reads `off` as false: in an incident make and Pulumi must take it."""
    file = tmp_path / "Pulumi.x.yaml"
    own = yaml.safe_dump({"config": {f"{PROJECT}:{key}": value for key, value in SMALLEST.items()}})
    file.write_text(f"{own}  {PROJECT}:crawlers: {{mode: {written}}}\n")
    assert load_stack_file(file).crawlers.mode == "off"


def test_what_pulumi_takes_for_a_text_is_no_boolean(tmp_path):
    """`make render` showed a mesh that is another team's, and `pulumi up` then refused `off`."""
    file = tmp_path / "Pulumi.x.yaml"
    own = yaml.safe_dump({"config": {f"{PROJECT}:{key}": value for key, value in SMALLEST.items()}})
    more = f"  {PROJECT}:istio: {{install: off, cni: true}}\n"
    more += f"  {PROJECT}:crawlers: {{selector: {{on: yes}}}}\n"
    file.write_text(own + more)
    with pytest.raises(SettingsError) as refused:
        load_stack_file(file)
    assert refused.value.findings == (
        "istio.install: 'off' is neither true nor false; write one of them, without quotes",
    )
    file.write_text((own + more).replace("install: off,", "install: False,"))
    settings = load_stack_file(file)
    assert (settings.istio.install, settings.crawlers.selector) == (False, {"on": "yes"})


def test_the_briefs_vendors_are_the_shipped_examples():
    """vendor-a, -b and -c have the ranges the brief gives them, on dev and prod alike."""
    expected = {
        "vendor-a": (AddressRange(parse_network("10.1.0.0/16")),),
        "vendor-b": (AddressRange(parse_network("10.2.0.0/16")),),
        "vendor-c": (AddressRange(parse_network("10.3.0.0/16")),),
    }
    for stack in ("dev", "prod"):
        vendors = load_stack_file(ROOT / f"Pulumi.{stack}.yaml").vendors
        assert {vendor.name: vendor.cidrs for vendor in vendors} == expected


def test_only_cluster_and_vendors_are_required():
    """A newcomer's first file has two keys."""
    assert parse_settings(SMALLEST).prometheus.retention == 7 * 86400
    required = {
        str(field.alias) for field in StackSettings.model_fields.values() if field.is_required()
    }
    assert required == {"cluster", "vendors"}


def test_crawler_and_sidecar_have_the_briefs_figures():
    """The brief's 100 MB and 0.1 CPU, 256 MB and 0.5 CPU, and a sidecar's 200 MB and 0.1 CPU."""
    defaults = parse_settings(SMALLEST)
    generator, sidecar = defaults.load_generator.resources, defaults.istio.sidecar
    assert (generator.requests.cpu, generator.requests.memory) == ("100m", "100M")
    assert (generator.limits.cpu, generator.limits.memory) == ("500m", "256M")
    assert (sidecar.requests.cpu, sidecar.requests.memory) == ("100m", "200M")


GOOD = [
    {"istio": {"install": False, "cni": True}},
    {"istio": {"install": False, "cni": False}, "crawlers": {"podSecurity": "privileged"}},
    {"istio": {"install": False}, "crawlers": {"createNamespaces": False}},
    {"istio": {"cni": False}, "crawlers": {"createNamespaces": False}},
    *(
        {"istio": {"chartSource": source}}
        for source in (
            "http://10.0.0.1:8080/istio",
            "oci://example.com/istio",
            "/srv/charts",
            "./c",
        )
    ),
    {"crawlers": {"egressHosts": ["data/*", "*/redis.example.com", "./*", "*/*.example.com"]}},
    {"cluster": "7"},  # text that is JSON too
]


@pytest.mark.parametrize("sections", GOOD, ids=str)
def test_what_must_not_be_refused(sections):
    """Each way an Istio, or namespaces, may have come about has a stack that says so."""
    stack = {**SMALLEST, **sections}
    assert parse_settings(stack) == settings_of_config(as_engine(stack), ())


def test_the_engine_has_no_section_or_text_in_its_place():
    """`pulumi config set vendors x` leaves text where a list belongs; a new stack has nothing."""
    config = {f"{PROJECT}:cluster": "Dev", f"{PROJECT}:vendors": "x", f"{PROJECT}:grafanna": "{}"}
    for engine, wrong in ((config, "cluster vendors grafanna"), ({}, "cluster vendors")):
        with pytest.raises(SettingsError) as refused:
            settings_of_config(engine, ())
        found = [finding.partition(":")[0] for finding in refused.value.findings]
        assert found == wrong.split()


def test_settings_cannot_be_changed():
    """What was checked is what is deployed."""
    with pytest.raises(ValueError, match="frozen"):
        parse_settings(SMALLEST).cluster = "prod"


def test_pulumis_own_keys_and_other_programs_are_left_alone(tmp_path):
    """secretsprovider, encryptionsalt and kubernetes: belong to Pulumi."""
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(
        "secretsprovider: passphrase\n"
        "encryptionsalt: v1:abc\n"
        f"config:\n  {PROJECT}:cluster: dev\n  kubernetes:context: dev\n"
        f"  {PROJECT}:vendors: [{{name: vendor-a, cidrs: [10.1.0.0/16]}}]\n"
    )
    assert load_stack_file(path).cluster == "dev"


def test_anchors_and_merge_keys_are_understood(tmp_path):
    """Vendors may share lines; Pulumi's own reader knows `<<` too."""
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(
        f"config:\n  {PROJECT}:cluster: dev\n  {PROJECT}:vendors:\n"
        "    - &common {name: vendor-a, cidrs: [10.1.0.0/16], httpPorts: [3128]}\n"
        "    - {<<: *common, name: vendor-b, cidrs: [10.2.0.0/16]}\n"
    )
    vendors = load_stack_file(path).vendors
    assert [vendor.name for vendor in vendors] == ["vendor-a", "vendor-b"]
    assert vendors[1].http_ports == (PortRange(3128, 3128),)


def test_stack_file_of_the_environment_wins(monkeypatch, tmp_path):
    """STACK_FILE lets a stack live outside the root, as the lab's does."""
    monkeypatch.delenv("STACK_FILE", raising=False)
    assert stack_file("prod") == ROOT / "Pulumi.prod.yaml"
    monkeypatch.setenv("STACK_FILE", str(tmp_path / "mine.yaml"))
    assert stack_file("prod") == tmp_path / "mine.yaml"


WORDS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["10.1.0.0/16", "vendor-a", "30s", "50Gi", "100m", "[key]", "http"]),
)
KEY_NAMES = st.text(max_size=6) | st.sampled_from(
    [*{key.name for key in keys().values()}, "secure", "[key]"]
)
ANYTHING = st.recursive(
    WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY_NAMES, inner, max_size=4),
    max_leaves=25,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEY_NAMES, ANYTHING, max_size=5), st.booleans())
def test_whatever_a_stack_says_ends_in_settings_or_sentences(extra, complete):
    """No input brings a traceback, or pydantic's own words."""
    findings = ()
    try:
        parse_settings({**SMALLEST, **extra} if complete else extra)
    except SettingsError as error:
        findings = error.findings or ("nothing",)
    for finding in findings:
        assert "; " in finding or "did you mean" in finding
        assert "\n" not in finding
        assert "is not accepted" not in finding


NO_RECEIVERS = {f"{PROJECT}:alertmanager": "{}"}  # as the engine's default for a missing key


def with_receiver(kind: str, credential: object, **fields: str) -> dict[str, str]:
    receiver = {"name": "oncall", "kind": kind, **fields}
    return as_engine(
        {
            **SMALLEST,
            "alertmanager": {"receivers": [receiver], "critical": ["oncall"]},
            "alertmanagerSecrets": {"oncall": credential},
        }
    )


@pytest.mark.parametrize(
    ("kind", "credential", "words"),
    [
        ("slack", "hunter2", "is not the URL of an incoming webhook; copy it from Slack"),
        ("slack", "http://hooks.example.com/hunter2", "is not the URL of an incoming webhook"),
        ("webhook", "hooks.example.com/hunter2", "is not a URL; write the receiver's"),
        ("pagerduty", "hunter2", "is not an integration key, which has 32 letters and digits"),
    ],
)
def test_a_credential_of_another_form_is_refused(kind, credential, words):
    """Alertmanager would start with it and tell nobody; the message keeps it to itself."""
    fields = {"channel": "#proxies"} if kind == "slack" else {}
    with pytest.raises(SettingsError) as refused:
        settings_of_config(with_receiver(kind, credential, **fields), SECRETS)
    (finding,) = refused.value.findings
    assert finding.startswith(f"alertmanagerSecrets.oncall: {words}")
    assert "hunter2" not in finding


def test_a_credential_that_the_engine_has_in_clear_is_refused():
    """`pulumi config set` without --secret leaves it in the stack's file and in the state."""
    config = with_receiver("webhook", "https://example.com/hunter2")
    with pytest.raises(SettingsError) as refused:
        settings_of_config(config, ())
    (finding,) = refused.value.findings
    assert finding.startswith("alertmanagerSecrets: is in clear text; revoke")
    assert "hunter2" not in finding
    assert settings_of_config({**config, SECRETS[0]: "{}"} | NO_RECEIVERS, ()).cluster == "dev"


def test_a_credential_is_shown_by_nothing():
    """Settings end up in tracebacks and logs."""
    settings = settings_of_config(with_receiver("webhook", "https://example.com/hunter2"), SECRETS)
    assert settings.alertmanager_secrets["oncall"].text == "https://example.com/hunter2"
    assert "hunter2" not in repr(settings)
