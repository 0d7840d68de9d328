"""The crawler's command line: options, profiles, the table, Ctrl-C, and refusals."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulation.crawler.cli import main, parser
from simulation.crawler.faults import FAULTS
from simulation.crawler.plan import RETRY_CODES, Plan, Vendor
from simulation.crawler.reading import PROFILES, read_plan
from simulation.crawler.sequence import planned_requests
from simulation.plans import PlanError, keys_of
from tests.programs import run_to_end
from tests.simulation.conftest import OK, ROOT, WAIT_SECONDS, saying

COMMAND = [sys.executable, "-m", "simulation.crawler"]
NAMES = ["burst", "diurnal", "ramp", "scrapy", "steady"]
VENDOR = {"name": "a", "address": "127.0.0.1", "port": 3128}


def place(vendor: dict[str, Any]) -> str:
    return f"{vendor['name']}={vendor['address']}:{vendor['port']}"


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, list[str]]]:
    """Run the program in this process; return exit code, output and complaints."""

    def call(*arguments: str) -> tuple[int, str, list[str]]:
        try:
            code = main(list(arguments))
        except SystemExit as end:
            code = int(str(end.code))
        said = capsys.readouterr()
        return code, said.out, said.err.splitlines()

    return call


def test_every_key_of_a_plan_and_every_profile_is_explained(say: Any) -> None:
    """`--help-plan` names every key, profile and fault in 80 columns."""
    code, said, _ = say("--help-plan")
    assert code == 0
    assert max(map(len, said.splitlines())) <= 80
    keys = (*keys_of(Plan), *keys_of(Vendor))
    assert [key for key in keys if not re.search(rf"\b{key}\b", said)] == []
    assert [name for name in NAMES if f"\n  {name} " not in said] == []
    faults = said[said.index("faults: ") :]
    assert [fault for fault in FAULTS if fault.removeprefix("vendor-error") not in faults] == []


def test_shipped_profiles_are_plans_but_for_the_vendors() -> None:
    """Each is described, checked as strictly as a plan, and named in --help."""
    assert sorted(path.stem for path in PROFILES.glob("*.json")) == NAMES
    for name in NAMES:
        raw = json.loads((PROFILES / f"{name}.json").read_text())
        assert len(raw["description"]) <= 70
        plan = read_plan({"profile": name, "vendors": [VENDOR]}, {})
        assert plan.arrival == raw["arrival"]
        assert next(planned_requests(plan)).host >= 1
    assert "burst, diurnal, ramp, scrapy, steady" in parser().format_help()


def test_scrapy_profile_has_scrapys_defaults() -> None:
    """CONCURRENT_REQUESTS, ..._PER_DOMAIN, DOWNLOAD_TIMEOUT, RETRY_TIMES, RETRY_HTTP_CODES."""
    plan = read_plan({"profile": "scrapy", "vendors": [VENDOR]}, {})
    assert (plan.concurrency, plan.per_host_concurrency, plan.timeout_seconds) == (16, 8, 180)
    assert plan.retries
    assert plan.retries.codes == RETRY_CODES == {500, 502, 503, 504, 522, 524, 408, 429}
    assert plan.retries.maximum == 2


def test_plan_goes_above_its_profile(tmp_path: Path) -> None:
    """A plan overrides its profile key by key; the profile's path starts at the plan."""
    (tmp_path / "mine.json").write_text('{"concurrency": 3, "seed": 8, "hosts": {"count": 4}}')
    plan = read_plan(
        {"profile": "./mine.json", "seed": 9, "hosts": None, "vendors": [VENDOR]}, {}, tmp_path
    )
    assert (plan.concurrency, plan.seed, plan.hosts) == (3, 9, None)


@pytest.mark.parametrize("content", ["[]", '{"profile": "steady"}'])
def test_profile_is_an_object_that_names_no_other(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(PlanError, match="holds no profile: give an object that names no"):
        read_plan({"profile": str(path), "vendors": [VENDOR]}, {})


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--plan: is missing: give it, or --vendor NAME=ADDRESS:PORT"),
        (
            ["--vendor", "a:3128"],
            '--vendor: "a:3128" is no vendor: give NAME=ADDRESS:PORT, as vendor-a=10.1.0.10:3128',
        ),
        (
            ["--vendor", "a=proxy:3128"],
            'vendors[0].address: "proxy" is not an IP address: give one such as 10.1.0.10',
        ),
        (
            ["--vendor", "a=::1:99999"],
            "vendors[0].port: 99999 is out of range: give a whole number from 1 to 65535",
        ),
        (["--vendor", "a=::1:1", "--rate", "fast"], "argument --rate: invalid float value: 'fast'"),
        (
            ["--vendor", "a=::1:1", "--seconds", "0"],
            "duration_seconds: 0.0 is out of range: give a number from 0.1 to 1e+08",
        ),
        (
            ["--vendor", "a=::1:1", "--profile", "scrapi"],
            'profile: "scrapi" is unknown: use one of',
        ),
        (
            ["--vendor", "a=::1:1", "--password-env", "NO_SUCH_VARIABLE"],
            'password_env: "NO_SUCH_VARIABLE" is no set variable: export it',
        ),
        (
            ["--vendor", "a=::1:1", "--books", "/no/such/folder/b"],
            "--books: /no/such/folder/b is in",
        ),
        (["--vender", "a=::1:1"], "unrecognized arguments: --vender a=::1:1: see --help"),
    ],
)
def test_bad_option_is_one_line(say: Any, arguments: list[str], complaint: str) -> None:
    """A bad option gives one line and exit code 2; nothing is sent."""
    code, said, complaints = say(*arguments)
    assert (code, said, len(complaints)) == (2, "", 1)
    assert complaints[0].startswith(f"crawler: {complaint}")


def test_more_in_flight_than_files_is_refused_at_the_start(vendors: Any) -> None:
    """The program refuses the plan before it starts instead of failing half-way."""
    path = vendors.write(vendors.plan(concurrency=100))
    command = f'ulimit -n 90; exec {shlex.join(COMMAND)} --plan "{path}"'
    done = run_to_end("bash", "-c", command, status=2, cwd=ROOT)
    assert done.stdout == ""
    assert done.stderr == (
        "crawler: in flight: 100 and 32 spare files are more than the 90 files allowed:"
        " give less, or raise `ulimit -n`\n"
    )
    assert vendors.settled_books()["connections"] == []


def test_quick_use_needs_no_plan(vendors: Any, run_program: Any) -> None:
    """Vendors and a profile on the command line give a run and a table."""
    first, second = vendors.vendors
    options = ["--vendor", place(first), "--vendor", place(second), "--profile", "scrapy"]
    done = run_program("crawler", *options, "--count", "100")
    assert (done.returncode, done.stderr) == (0, "")
    counts, latency, facts = done.stdout.split("\n\n")
    assert counts.splitlines() == [
        "vendor    visibility  outcome  count",
        "vendor-a  http        success     10",
        "vendor-a  tunnel      success     40",
        "vendor-b  http        success     10",
        "vendor-b  tunnel      success     40",
    ]
    head, http, tunnel = latency.splitlines()
    assert head.split() == ["latency", "ms", "counts", "mean", "most"]
    assert (http.split()[:2], tunnel.split()[:2]) == (["http", "20"], ["tunnel", "80"])
    assert [line.split()[0] for line in facts.splitlines()] == [
        *("counts", "requests", "in", "bytes")
    ]
    assert "\nrequests   100, and 0 retries\n" in facts


def test_rate_by_hand_goes_above_a_closed_profile(vendors: Any, run_program: Any) -> None:
    """`--rate` with Scrapy's profile keeps all of it but its arrival."""
    options = ["--vendor", place(vendors.vendors[0]), "--profile", "scrapy", "--rate", "100"]
    done = run_program("crawler", *options, "--seconds", "0.2", "--json")
    books = json.loads(done.stdout)
    assert (books["requests"], books["start_lag"]["count"], books["partial"]) == (20, 20, False)


def test_options_go_above_the_plan(vendors: Any, run_program: Any) -> None:
    path = vendors.write(vendors.plan(count=1000))
    done = run_program("crawler", "--plan", str(path), "--count", "7", "--json")
    assert json.loads(done.stdout)["requests"] == 7


@pytest.mark.parametrize("kind", ["table", "json"])
def test_ctrl_c_gives_the_part_that_was_done(vendors: Any, kind: str) -> None:
    """The result so far comes with exit code 0, and says that it is partial."""
    plan = vendors.plan(count=100_000, requests_per_second=200, mix={"http": 1})
    started = vendors.start_crawler(plan, *(["--json"] if kind == "json" else []))
    vendors.wait_for(20, "counts")
    started.send_signal(signal.SIGINT)
    said, complaints = started.communicate(timeout=WAIT_SECONDS)
    assert (started.returncode, complaints) == (0, "")
    if kind == "json":
        books = json.loads(said)
        assert books["partial"] is True
        assert 20 <= books["requests"] < 100_000
    else:
        assert said.endswith("\npartial    a signal ended the run before its plan\n")


def test_endless_run_that_is_stopped_is_no_part(vendors: Any) -> None:
    plan = vendors.plan(count=None, requests_per_second=200, mix={"http": 1})
    started = vendors.start_crawler(plan, "--json")
    vendors.wait_for(5, "counts")
    started.send_signal(signal.SIGTERM)
    assert json.loads(started.communicate(timeout=WAIT_SECONDS)[0])["partial"] is False


def test_result_that_cannot_be_written_loses_no_other(
    vendors: Any, run_program: Any, tmp_path: Path
) -> None:
    """A device is not replaced by a file; a failure gives one line and exit code 1."""
    place_of = place(vendors.vendors[0])
    options = ["--vendor", place_of, "--count", "5"]
    full, folder = tmp_path / "full", tmp_path / "folder"
    full.symlink_to("/dev/full")
    folder.mkdir()
    done = run_program("crawler", *options, "--books", str(full))
    assert (done.returncode, "\nrequests   5," in done.stdout) == (1, True)
    assert done.stderr == f"crawler: --books: {full} cannot be written: No space left on device\n"
    assert full.is_char_device()
    assert sorted(tmp_path.glob("full*")) == [full]
    done = run_program("crawler", *options, "--books", str(folder))
    fix = "is a folder: give a file's name in it"
    assert (done.returncode, done.stderr) == (2, f"crawler: --books: {folder} {fix}\n")
    command = f"{shlex.join([*COMMAND, *options])} > /dev/full"
    said = run_to_end("bash", "-c", command, status=1, cwd=ROOT)
    assert said.stderr == ("crawler: standard output: cannot be written: No space left on device\n")


def test_unreachable_vendor_is_reported_once(vendors: Any, run_program: Any) -> None:
    """One note at the end has address, reason and fix, however many counts failed."""
    nobody = {**vendors.vendors[0], "address": vendors.vendors[0]["dead_address"]}
    options = ["--vendor", place(nobody), "--vendor", place(vendors.vendors[1])]
    done = run_program("crawler", *options, "--count", "40", "--profile", "scrapy")
    assert (done.returncode, done.stderr) == (0, "")
    where = f"{nobody['address']}:{nobody['port']}"
    assert [line for line in done.stdout.splitlines() if line.startswith("note")] == [
        f"note       vendor-a: {where}: Connection refused, 60 times:"
        " start the vendor, or correct its address and port"
    ]
    assert "\nrequests   40, and 40 retries\n" in done.stdout


def test_wrong_credential_is_an_outcome_and_a_note(
    vendors: Any, run_program: Any, peer: Any
) -> None:
    """407s are auth_failed, the note names what to check, and no output has the password."""
    # Intended as a plain success, refused by the vendor: what a wrong password looks like.
    refusal = OK.replace(b"200 OK", b"407 No")[:-2] + b"Connection: close\r\n\r\n"
    path = vendors.write({"mix": {"http": 0.5, "tunnel": 0.5}})
    option = place({**peer(saying(refusal)), "name": "a"})
    arguments = ["--plan", str(path), "--vendor", option, "--count", "10"]
    done = run_program("crawler", *arguments, "--password-env", "LOGIN", LOGIN="me:wrong")
    assert (done.returncode, done.stderr) == (0, "")
    assert "a       http        auth_failed      5\n" in done.stdout
    assert "a       tunnel      auth_failed      5\n" in done.stdout
    assert "\nnote       a: refuses the credentials, 10 times: check password_env\n" in done.stdout
    assert "wrong" not in done.stdout
