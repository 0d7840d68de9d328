"""`make pictures`: a picture of each board, in a calm lab and in drills, by Chromium.

Writes <board>-<situation>.png and prints how long each panel's queries took. Times are those of
drills: an hour is a minute. Exit codes: 0 written, 1 a panel failed, 2 could not run.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

from lab.demo import firing
from lab.drill import drill_stand_ins, staged
from lab.fault_injection import Stage
from lab.money import STAND_IN
from lab.ports import DEFAULT_BASE, Ports
from lab.processes import ENDED_EARLY, LabError, reasons_of, require_free, stop_on_signals
from lab.scenarios import Scenario, chosen
from lab.shortening import DRILL_FACTOR
from lab.system import FOLDER, ROOT
from lab.viewer.in_lab import board_questions
from lab.viewer.png import small_png
from lab.viewer.questions import Questions
from lab.viewer.server import serving
from lab.viewer.speed import Row, measured, speed_table
from tools.chromium import ChromiumError, Page, running
from tools.reports import add_out, finish

PICTURES = ROOT / "docs" / "pictures"
CALM = "calm"
CUSTOMARY = "vendor-b-bans,vendor-d-outage,vendor-h-slow"
"""Three kinds of trouble: a target's, the vendor's own, and no failure at all."""

WARM_SECONDS = 36.0
"""From the start until counts, rates and means over half an hour are steady: on no picture."""
CALM_SECONDS = 3600 / DRILL_FACTOR  # an hour
BEFORE_SECONDS = 40.0
LASTING_SECONDS = 20.0
"""How long a fault goes on after its alert, so that the picture shows a course and not an edge."""
WAIT_SECONDS = 120.0
"""For an alert to come, and for those to go that a busy machine has of its own."""
BROWSER_SECONDS = 1800.0
WIDTH, HEIGHT, MOST_HEIGHT = 1920, 1080, 4000

READY = "document.body && document.body.dataset.state === 'ready'"
FAILED = (
    "[...document.querySelectorAll('[data-state=failed], [data-state=unsupported]')]"
    ".map((one) => `${one.ariaLabel}: ${one.innerText}`)"
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make pictures", description=__doc__)
    parser.add_argument("--name", default=CUSTOMARY, help="drills, or none for calm alone")
    parser.add_argument("--folder", type=Path, default=PICTURES)
    parser.add_argument("--port-base", default=str(DEFAULT_BASE))
    add_out(parser, "pictures.json")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    written: list[str] = []
    status, findings = 2, []
    try:
        with stop_on_signals():
            findings = _run(options, rows, written)
        status = 1 if findings else 0
    except (*ENDED_EARLY, ChromiumError) as error:
        findings = reasons_of(error)
    panels = [row.as_json() for row in rows]
    report = {"status": status, "pictures": written, "panels": panels, "findings": findings}
    return finish("pictures", options.out, report)


def _run(options: argparse.Namespace, rows: list[Row], written: list[str]) -> list[str]:
    """Take the pictures of each situation in a lab of its own, so that they tell one story."""
    scenarios = chosen(options.name) if options.name != "none" else ()
    ports = Ports.from_text(options.port_base)
    options.folder.mkdir(parents=True, exist_ok=True)
    findings: list[str] = []
    require_free([("127.0.0.1", ports.viewer)])
    for line in (*drill_stand_ins(), STAND_IN):
        _say(f"stand-in    {line}")
    with running("--hide-scrollbars", seconds=BROWSER_SECONDS) as browser:
        page, empty = Page(browser, width=WIDTH), Page(browser)
        for scenario in (None, *scenarios):
            name = scenario.name if scenario else CALM
            with staged(ports, FOLDER / f"pictures-{ports.base}", priced=True) as stage:
                questions = board_questions(stage.lab, DRILL_FACTOR)
                with serving(questions, ports.viewer) as address:
                    camera = Camera(page, empty, questions, address)
                    for uid, picture in camera.pictures(*_situation(stage, scenario)):
                        file = options.folder / f"{uid}-{name}.png"
                        file.write_bytes(picture)
                        written.append(file.name)
                        _say(f"written     {file} ({len(picture) / 1000:.0f} kB)")
                rows[:] = measured(questions)
            findings += [f"{row.board}: {row.error}" for row in rows if row.error]
            findings += camera.findings
    _say("\n" + speed_table(rows))
    return findings


def _situation(stage: Stage, scenario: Scenario | None) -> tuple[str, float]:
    """Wait until the situation is there; return the vendor in trouble, and the range's begin."""
    lab = stage.lab
    shown = CALM_SECONDS if scenario is None else BEFORE_SECONDS
    lab.family.wait(lambda: False, WARM_SECONDS + shown)
    if not lab.family.wait(lambda: not firing(lab), WAIT_SECONDS):
        raise LabError(f"the lab is not calm: {', '.join(firing(lab))} fires; try again")
    if scenario is None:
        return "", time.time() - CALM_SECONDS
    vendor, begun = scenario.labels.get("proxy_vendor", ""), time.time()
    scenario.fault(stage)
    if not lab.family.wait(lambda: vendor in firing(lab).get(scenario.alert, ()), WAIT_SECONDS):
        raise LabError(f"{scenario.name}: {scenario.alert} does not fire")
    lab.family.wait(lambda: False, LASTING_SECONDS)
    return vendor, begun - BEFORE_SECONDS


class Camera:
    """Opens boards and takes pictures of them."""

    def __init__(self, page: Page, empty: Page, questions: Questions, address: str) -> None:
        self._page, self._empty = page, empty
        self._questions, self._address = questions, address
        self.findings: list[str] = []

    def pictures(self, vendor: str, begun: float) -> Iterator[tuple[str, bytes]]:
        """Yield each board's uid and picture; a board of details shows the vendor in trouble."""
        now = math.floor(time.time())  # or a table would be a second ahead of the lines beside it
        times = {"from": f"{begun * 1000:.0f}", "to": f"{now * 1000:.0f}", "refresh": ""}
        first = next(iter(self._questions.boards))
        for uid in self._questions.boards:
            chosen = {"var-vendor": vendor} if vendor and uid != first else {}
            yield uid, self._picture(uid, times | chosen)

    def _picture(self, uid: str, parameters: Mapping[str, str]) -> bytes:
        page = self._page
        page.resize(WIDTH, HEIGHT)
        page.open(f"{self._address}/d/{uid}?{urlencode(parameters)}")
        page.wait(READY)
        height = int(page.evaluate("document.documentElement.scrollHeight"))
        page.resize(WIDTH, max(HEIGHT, min(height, MOST_HEIGHT)))
        # Charts take their new size within some frames.
        page.evaluate("new Promise((done) => setTimeout(done, 500))")
        self.findings += [f"{uid}: {one}" for one in page.evaluate(FAILED)]
        self.findings += [f"{uid}: {one}" for one in page.complaints()]
        return small_png(self._empty, page.picture())


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
