"""The pages name only what exists, and stay short."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from components.attribution.outcome import proxy_outcome
from money.from_settings import contracts_of
from render.program import run_program
from settings.loading import load_stack_file
from tests.rules.promql import alerts

ROOT = Path(__file__).parents[2]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [*GUIDES, ROOT / "CHANGELOG.md"]
REFERENCE = ROOT / "docs" / "configuration.md"

NO_KEYS = {"prometheus.yml", "alertmanager.yml", "istio.stats"}
"""Names that look like a key of a section: files, and a filter of Istio's Envoy."""

MOST_WORDS = 35_700
"""Of all pages but the decisions and the vendors' own: about an hour of reading."""


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code_of(page: Path) -> list[str]:
    """Return what stands in back quotes or indented fences, where commands and keys are."""
    text = text_of(page)
    fence = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
    return [*fence.findall(text), *re.findall(r"`([^`\n]+)`", fence.sub("", text))]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """Return the headings of a page as GitHub links to them."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    """A reader follows a link and arrives at the page and the section that it promises."""
    for link, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text_of(page)):
        if link.startswith("https://"):
            continue
        target = page.parent / link if link else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f"{link}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_and_files_exist(page: Path) -> None:
    """A reader types a command or opens a file that a page names, and it is there."""
    for code in code_of(page):
        for target in re.findall(r"\bmake ([a-z-]+)", code):
            assert target in make_targets(), target
        folders = (
            "benchmarks|books|components|docs|lab|lua|presets|rules|settings|simulation|tests|tools"
        )
        if re.fullmatch(rf"(?:{folders})/[\w./-]+", code):
            assert (ROOT / code).exists(), code


@pytest.mark.parametrize("page", GUIDES, ids=page_id)
def test_keys_exist(page: Path) -> None:
    """A page names a key of the stack file by a name that the program knows."""
    known = set(re.findall(r"^`([^`]+)` \|", text_of(REFERENCE), re.MULTILINE))
    assert "crawlers.namespaces" in known
    sections = {key.split(".")[0].removesuffix("[]") for key in known}
    for code in code_of(page):
        key = code.partition(":")[0]
        if key in NO_KEYS or not re.fullmatch(r"[a-z]\w*(\[\])?(\.[a-zA-Z*\[\]]+)+", key):
            continue
        section = key.split(".")[0].removesuffix("[]")
        named = key.startswith("alertmanagerSecrets.")  # below it are the receivers' names
        assert section not in sections or named or key in known, key


def test_every_alert_has_a_runbook() -> None:
    """An alert leads to a page that opens with what users feel; no page is of an alert gone."""
    runbooks = {page.stem: text_of(page) for page in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert set(runbooks) == {alert["alert"] for alert in alerts()}
    for name, text in runbooks.items():
        assert text.startswith(f"# {name}\n")
        headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert headings == [
            *("What users feel", "What to check", "What to do", "When the alert is wrong")
        ], name
        assert "```" in text.partition("## What to check")[2].partition("## What to do")[0], name


def test_every_outcome_is_explained() -> None:
    """A value of the label `proxy_outcome` is explained in the architecture page."""
    text = text_of(ROOT / "docs" / "architecture.md")
    outcomes = {
        *("rejected", "connect_failed", "timeout", "reset", "client_cancelled", "auth_challenge"),
        *("auth_failed", "quota_exhausted", "rate_limited", "blocked", "vendor_error"),
        *("target_error", "success", "policy", "bad_answer"),
    }
    assert outcomes <= set(re.findall(r"'([a-z_]+)'", proxy_outcome(10)))
    assert {outcome for outcome in outcomes if f"`{outcome}`" not in text} == set()


def test_the_help_fits_a_terminal_and_names_every_target() -> None:
    """`make help` is the first thing typed."""
    lines = re.findall(r"^([a-z-]+):.*## (.*)$", text_of(ROOT / "Makefile"), re.MULTILINE)
    assert {name for name, _ in lines} == make_targets()
    assert all(len(f"  {name:<12} {text}") <= 100 for name, text in lines)


def test_the_example_of_a_team_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who copies the example from docs/examples has a stack file that the program takes."""
    monkeypatch.chdir(ROOT)
    settings = load_stack_file(ROOT / "docs" / "examples" / "Pulumi.acme.yaml")
    assert len(settings.vendors) == 6
    assert settings.crawlers.expected_pods == 3000
    assert settings.crawlers.selector
    assert not settings.makes_sidecar


def test_the_example_of_prices_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its prices are in the contracts, completed by the presets."""
    monkeypatch.chdir(ROOT)
    contracts = contracts_of(load_stack_file(ROOT / "docs" / "examples" / "Pulumi.prices.yaml"))
    assert [(one.vendor, one.product, one.currency) for one in contracts] == [
        ("bright", "residential", "USD"),
        ("bright", "datacenter", "USD"),
        ("sticky", "", "EUR"),
        ("sticky", "", "EUR"),
        ("api", "", "USD"),
    ]
    assert contracts[0].rules[0].counts == "target"
    assert contracts[4].rules[0].successes == {"success", "target_error"}


@pytest.mark.parametrize("name", ["residential", "datacenter", "mixed"])
def test_a_first_stack_file_has_three_lines_a_vendor(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a new user would write it: short, accepted without a warning of its vendors, rendered."""
    file = ROOT / "docs" / "examples" / f"Pulumi.{name}.yaml"
    config = dict(yaml.compose(text_of(file)).value[0][1].value)
    (vendors,) = [node for key, node in config.items() if key.value.endswith(":vendors")]
    lines = [len(text_between(file, one).strip().split("\n")) for one in vendors.value]
    assert lines
    assert max(lines) <= 3

    monkeypatch.setenv("STACK_FILE", str(file))
    run = run_program(name)
    assert run.of_kind("EnvoyFilter")
    assert bool(run.of_kind("ServiceEntry")) == (name != "datacenter")


def text_between(file: Path, node: yaml.Node) -> str:
    return text_of(file)[node.start_mark.index : node.end_mark.index]


def test_the_readme_shows_a_whole_stack_file() -> None:
    """What a reader copies from the page is the file that is tested above."""
    shown = text_of(ROOT / "README.md").partition("```yaml\n")[2].partition("   ```")[0]
    assert textwrap.dedent(shown) == text_of(ROOT / "docs/examples/Pulumi.mixed.yaml")


def test_nothing_of_a_machine_is_in_the_pages() -> None:
    """Paths of one developer's machine break on every other."""
    for page in PAGES:
        assert not re.search(r"(^|[\s`(])/(root|home|work)/", text_of(page)), page


def test_the_pages_stay_short() -> None:
    """A new page replaces an old one, or nobody reads either."""
    words = {
        page_id(page): len(text_of(page).split())
        for page in GUIDES
        # Of docs/vendors nobody reads more than the page of a vendor; settings.reference writes it.
        if page.parent.name not in ("decisions", "vendors")
    }
    assert sum(words.values()) <= MOST_WORDS, sorted(words.items(), key=lambda item: -item[1])[:8]
