"""What an edit does, in words: pages that a reviewer reads, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from impact.__main__ import PROGRAM, main
from impact.owners import moves
from impact.report import impact
from settings.catalogue import OUTSIDE, Catalogue
from settings.loading import ROOT, StackFile, parse_settings
from tests.impact.edits import EDITS, GOLDEN, page_of
from tests.programs import run_to_end

PROD = ROOT / "Pulumi.prod.yaml"


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_a_reviewer_reads_the_same_page(edit, tmp_path):
    """`python -m tests.impact.edits` writes the pages anew."""
    assert page_of(edit, tmp_path) == (GOLDEN / f"{edit.__name__}.md").read_text(encoding="utf-8")


def test_every_page_is_of_an_edit():
    assert {path.stem for path in GOLDEN.glob("*.md")} == {edit.__name__ for edit in EDITS}


def impact_of(**sections):
    vendors = [{"name": "vendor-a", "cidrs": ["203.0.113.0/24"], "httpPorts": [3128]}]
    shared = {"istio": {"install": False}, "crawlers": {"createNamespaces": False}}
    keys = {"cluster": "x", "vendors": vendors, **shared}
    files = [
        StackFile(settings=parse_settings(one), config={}, encrypted=())
        for one in (keys, keys | sections)
    ]
    return impact(*files)


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        (
            {"crawlers": {"createNamespaces": False, "sidecarResource": "create"}},
            "a Sidecar resource comes",
        ),
        ({"network": {"ingress": "crawlersOnly"}}, "crawlers and Prometheus alone"),
        (
            {"crawlers": {"createNamespaces": False, "selector": {"app": "scraper"}}},
            "crawlers.selector all pods → app=scraper: in running pods with a sidecar",
        ),
        (
            {"crawlers": {"createNamespaces": False, "namespaces": ["crawlers", "more"]}},
            "namespace more is new: its pods get a sidecar as they restart; of those that have",
        ),
    ],
)
def test_what_changes_no_chain_is_told_too(sections, line):
    """A reviewer read "No effect" where crawlers lost the mTLS of other teams' services."""
    found = impact_of(**sections)
    assert any(line in each for part in found.parts for each in part.lines), found.parts


def test_every_replica_of_grafana_is_counted():
    """Two pods more asked for nothing, though the namespace's quota has room for them."""
    database = {"host": "postgres.example.com:5432", "passwordSecret": "grafana-database"}
    numbers = impact_of(grafana={"replicas": 3, "database": database}).numbers
    assert numbers["after"]["cores"] - numbers["before"]["cores"] == pytest.approx(2 * 0.5)


def edited_file(folder: Path, edit) -> Path:
    document = yaml.safe_load(PROD.read_text(encoding="utf-8"))
    edit(document["config"]["proxy-observability:vendors"])
    file = folder / "Pulumi.edited.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


def change_hands(vendors):
    vendors[1]["cidrs"] = vendors[0].pop("cidrs")
    vendors[0]["cidrs"] = ["10.8.0.0/16"]


def test_a_range_that_changes_hands_is_refused_by_its_exit_code(tmp_path, monkeypatch, capsys):
    """A pull request's check turns red, and the finding names the two steps."""
    monkeypatch.setenv("STACK_FILE", str(edited_file(tmp_path, change_hands)))
    assert main(["--stack", "prod", "--base", str(PROD), "--out", str(tmp_path / "out")]) == 1
    finding = capsys.readouterr().err
    assert "first remove it from vendor-a" in finding
    report = json.loads((tmp_path / "out" / "impact.json").read_text())
    assert report["status"] == 1
    assert report["findings"] == finding.splitlines()
    assert (tmp_path / "out" / "impact.md").read_text().startswith("## Impact on prod")


@pytest.mark.parametrize("step", ["remove", "add"])
def test_each_of_the_two_steps_is_accepted(step, tmp_path, monkeypatch):
    """What a finding tells the reader to do must itself pass."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()

    def more(vendors):
        vendors[0]["cidrs"].append("10.8.0.0/16")

    def moved(vendors):
        vendors[1]["cidrs"].append("10.8.0.0/16")

    start, edit = (more, lambda _: None) if step == "remove" else (lambda _: None, moved)
    base = edited_file(before, start)
    monkeypatch.setenv("STACK_FILE", str(edited_file(after, edit)))
    assert main(["--stack", "prod", "--base", str(base)]) == 0


def test_no_edit_has_no_effect(capsys):
    assert main(["--stack", "prod", "--base", str(PROD)]) == 0
    assert capsys.readouterr().out == "No effect: nothing of what runs changes.\n"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("images", {"mirror": "registry.acme.example"}, "all pods of this program restart"),
        ("scheduling", {"nodeSelector": {"pool": "a"}}, "all pods of this program restart"),
        ("scheduling", {"storageClass": "fast"}, "those that exist keep theirs"),
        ("cluster", "other", "cluster: pulumi preview shows the objects"),
        ("crawlers", {"sidecarResource": "none"}, "the Sidecar resource goes"),
    ],
)
def test_what_no_part_counts_is_not_called_no_effect(
    key, value, said, tmp_path, monkeypatch, capsys
):
    """Whoever reads "no effect" does not look into the preview."""
    document = yaml.safe_load(PROD.read_text(encoding="utf-8"))
    document["config"][f"proxy-observability:{key}"] = value
    file = tmp_path / "Pulumi.edited.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    monkeypatch.setenv("STACK_FILE", str(file))
    assert main(["--stack", "prod", "--base", str(PROD)]) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("base", ["", "no-such-revision", "--output=x"])
def test_a_base_that_is_nothing_could_not_be_compared(base, capsys):
    assert main(["--stack", "prod", f"--base={base}"]) == 2
    assert capsys.readouterr().err.startswith("BASE: ")


def git(folder: Path, *commands: str) -> None:
    """Run commands of Git, each a text, in a repository of the test's own."""
    own = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in commands:
        subprocess.run([*own, *command.split()], check=True)


def test_a_revision_brings_its_own_file_of_ranges(tmp_path, monkeypatch, capsys):
    """An edit of a list of ranges leaves the stack file as it was."""
    for module in ("impact.__main__", "settings.loading"):
        monkeypatch.setattr(f"{module}.ROOT", tmp_path)
    (tmp_path / "ranges.txt").write_text("10.1.0.0/16\n")
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "a.py").write_text("1\n")
    file = edited_file(tmp_path, lambda vendors: vendors[0].update(cidrsFile="ranges.txt"))
    document = yaml.safe_load(file.read_text())
    del document["config"]["proxy-observability:vendors"][0]["cidrs"]
    file.write_text(yaml.safe_dump(document))
    git(tmp_path, "init -q", "add .", "commit -qm first")
    (tmp_path / "ranges.txt").write_text("10.1.0.0/16\n10.8.0.0/16\n")
    monkeypatch.setenv("STACK_FILE", str(file))
    assert main(["--stack", "edited", "--base", "HEAD"]) == 0
    printed = capsys.readouterr().out
    assert "outside → vendor-a: 65,536 addresses (10.8.0.0/16)" in printed
    assert "The program changes" not in printed
    # Both files are computed by the new program, so its edit must not be "no effect".
    (tmp_path / "components" / "a.py").write_text("2\n")
    assert main(["--stack", "edited", "--base", "HEAD"]) == 0
    assert "it differs in components/a.py" in capsys.readouterr().out


def test_every_module_that_renders_a_stack_is_known_to_be_the_program():
    """Else an edit of one of them would have no effect, says the page."""
    code = (
        "import sys; from pathlib import Path; from render.program import run_program\n"
        "run_program('prod')\n"
        "files = {getattr(one, '__file__', None) for one in [*sys.modules.values()]} - {None}\n"
        f"own = [Path(file).relative_to({str(ROOT)!r}) for file in files if file.startswith("
        f"{str(ROOT)!r}) and '.venv' not in file]\n"
        "print(*sorted({one.parts[0] for one in own}))"
    )
    done = run_to_end(sys.executable, "-c", code, cwd=ROOT)
    # tools only finds an Envoy to validate with.
    assert {*done.stdout.split()} - {"render", "tools"} <= {*PROGRAM}
    assert [name for name in PROGRAM if not (ROOT / name).exists()] == []


def test_stacks_in_a_repository_of_their_own(tmp_path, monkeypatch, capsys):
    """BASE is a revision of theirs, not of this one, which has a file of the same name."""
    file = edited_file(tmp_path, lambda vendors: vendors[0].update(name="acme"))
    file = file.rename(tmp_path / "Pulumi.prod.yaml")
    git(tmp_path, "init -q", "add .", "commit -qm first")
    monkeypatch.setenv("STACK_FILE", str(file))
    assert main(["--stack", "prod", "--base", "HEAD"]) == 0
    assert capsys.readouterr().out == "No effect: nothing of what runs changes.\n"
    monkeypatch.setenv("STACK_FILE", str(file.rename(tmp_path / "Pulumi.new.yaml")))
    assert main(["--stack", "new", "--base", "HEAD"]) == 0
    assert "nothing of it runs yet" in capsys.readouterr().out


def test_a_base_that_is_wrong_is_not_the_edit_s_fault(tmp_path, capsys):
    """The edit may be what mends it."""
    wrong = edited_file(tmp_path, lambda vendors: vendors[0].update(cidrs=["10.1.0.0/99"]))
    assert main(["--stack", "prod", "--base", str(wrong)]) == 2
    assert capsys.readouterr().err.startswith(f"BASE: {wrong} would not be deployed: vendors[0]")


RANGES = st.lists(
    st.tuples(st.integers(0, 15), st.integers(28, 32), st.sampled_from(["a", "b"])),
    min_size=1,
    max_size=6,
)


def settings_of(ranges):
    by_vendor = {"a": set(), "b": set()}
    taken = set()
    for number, length, vendor in ranges:
        first = 0x0A010000 + (number >> (32 - length) << (32 - length))
        text = f"{ip_address(first)}/{length}"
        if text not in taken:
            taken.add(text)
            by_vendor[vendor].add(text)
    vendors = [
        {"name": f"vendor-{name}", "cidrs": [*sorted(found), f"10.{number}.0.0/16"]}
        for number, (name, found) in enumerate(by_vendor.items(), start=8)
    ]
    return parse_settings({"cluster": "test", "vendors": vendors})


@given(RANGES, RANGES)
def test_every_address_that_changes_owner_is_told_once(before, after):
    """Compared with a look-up of each single address."""
    old, new = settings_of(before), settings_of(after)
    told = {}
    for move in moves(old, new):
        for network in move.networks:
            for address in network:
                assert address not in told
                told[address] = (move.before[0], move.after[0])
    catalogues = [Catalogue.of(settings.vendors) for settings in (old, new)]
    expected = {}
    for number in range(0x0A010000, 0x0A010010):
        owners = tuple(
            found.vendor if (found := one.find(ip_address(number))) else OUTSIDE
            for one in catalogues
        )
        if owners[0] != owners[1]:
            expected[ip_address(number)] = owners
    assert told == expected


OLD = {"revision": "default", "version": "1.30.2"}
NEW = {"revision": "1-31", "version": "1.31.4"}


def istio_file(folder: Path, name: str, istio: dict[str, object]) -> Path:
    document = yaml.safe_load(PROD.read_text(encoding="utf-8"))
    document["config"]["proxy-observability:istio"] = istio
    file = folder / f"Pulumi.{name}.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


RESTART = "up to 1,000 crawler pods must restart before this takes effect: "


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            OLD,
            {**OLD, "otherRevision": NEW},
            ["istiod-1-31 comes", "istio-cni restarts by itself on every node: its version"],
        ),
        (
            {**OLD, "otherRevision": NEW},
            {**NEW, "otherRevision": OLD},
            [
                f"{RESTART}the sidecar's version",
                f"{RESTART}the revision that injects and configures",
            ],
        ),
        (
            {**NEW, "otherRevision": OLD},
            NEW,
            ["istiod goes: sidecars that it injected get no change any more; restart their pods"],
        ),
    ],
    ids=["added", "swapped", "removed"],
)
def test_what_each_step_of_an_upgrade_of_istio_moves(
    before, after, said, tmp_path, monkeypatch, capsys
):
    """A swap ends nothing: pods move to the other istiod as they restart."""
    monkeypatch.setenv("STACK_FILE", str(istio_file(tmp_path, "after", after)))
    base = istio_file(tmp_path, "before", before)
    assert main(["--stack", "prod", "--base", str(base)]) == 0
    printed = capsys.readouterr().out
    pods = printed.partition("Pods\n")[2].partition("\n\n")[0].splitlines()
    assert len(pods) == len(said), printed
    assert all(line.strip().startswith(text) for line, text in zip(pods, said, strict=True)), pods
    assert "Open connections" not in printed


def test_a_grafana_of_others_costs_nothing_and_does_not_restart(tmp_path, monkeypatch, capsys):
    """This program then makes ConfigMaps alone, whichever boards change."""
    base, after = tmp_path / "Pulumi.before.yaml", tmp_path / "Pulumi.after.yaml"
    document = yaml.safe_load(PROD.read_text(encoding="utf-8"))
    document["config"]["proxy-observability:grafana"] = {"mode": "existing"}
    base.write_text(yaml.safe_dump(document), encoding="utf-8")
    vendor = {"name": "another", "cidrs": ["198.51.100.200/32"], "httpPorts": [8800]}
    document["config"]["proxy-observability:vendors"].append(vendor)
    after.write_text(yaml.safe_dump(document), encoding="utf-8")

    monkeypatch.setenv("STACK_FILE", str(after))
    assert main(["--stack", "prod", "--base", str(base)]) == 0
    printed = capsys.readouterr().out
    assert "another" in printed
    assert "Grafana" not in printed

    assert main(["--stack", "prod", "--base", str(PROD)]) == 0
    assert "Grafana goes" in capsys.readouterr().out
