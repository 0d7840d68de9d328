"""Debian's Chromium without a window, driven over its debugging pipe.

The pipe speaks the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/). A
driver such as Playwright would add a package and a download of a browser of its own.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

PROGRAM = "chromium"
REMEDY = "on Debian, run `apt-get install chromium` as root"

SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    # It asks nobody anything of its own accord, and finds no host but addresses of loopback.
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*, EXCLUDE ::1",
)
ANSWER_SECONDS = 60.0
"""For one command; a page without frames, which is behind another tab, may never answer one."""
END_SECONDS = 5.0
POLL_SECONDS = 0.05


class ChromiumError(Exception):
    """Chromium is missing, has ended, refused a command, or a page did not become as expected."""


class Browser:
    """Sends commands to the browser, and keeps the events that come meanwhile.

    Args:
        seconds: for all that is done with it.
    """

    def __init__(self, commands: int, told: int, seconds: float) -> None:
        self._commands, self._told = commands, told
        self._number, self._rest = 0, b""
        self._events: deque[Json] = deque()
        self._deadline = time.monotonic() + seconds

    def say(self, method: str, session: str = "", **parameters: object) -> int:
        """Give a command and do not wait for its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        return self._number

    def ask(self, method: str, session: str = "", **parameters: object) -> Json:
        """Give a command and return its result; earlier events stay for `event`."""
        number = self.say(method, session, **parameters)
        until = min(self._deadline, time.monotonic() + ANSWER_SECONDS)
        while (message := self._next(until)).get("id") != number:
            if "method" in message:
                self._events.append(message)
        if "error" in message:
            raise ChromiumError(f"{method}: {message['error']}")
        return dict(message["result"])

    def event(self) -> Json:
        """Wait for the next event."""
        while not self._events:
            message = self._next(self._deadline)
            if "method" in message:
                self._events.append(message)
        return self._events.popleft()

    def events(self) -> Iterator[Json]:
        """Yield the events that have come, without waiting."""
        while self._events:
            yield self._events.popleft()

    def _next(self, until: float) -> Json:
        while b"\0" not in self._rest:
            left = until - time.monotonic()
            readable, _, _ = select.select([self._told], [], [], max(0.0, left))
            if not readable:
                raise ChromiumError("Chromium says nothing")
            data = os.read(self._told, 1 << 20)
            if not data:
                raise ChromiumError("Chromium has ended")
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))


@contextlib.contextmanager
def running(*switches: str, seconds: float) -> Iterator[Browser]:
    """Run Chromium with a profile of its own until the block ends.

    Raises:
        ChromiumError: it is not installed.
    """
    if not shutil.which(PROGRAM):
        raise ChromiumError(f"{PROGRAM}: not on PATH; {REMEDY}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # Else it opens connections that it may need, or may not.
        preferences = Path(folder) / "profile" / "Default" / "Preferences"
        preferences.parent.mkdir(parents=True)
        preferences.write_text(json.dumps({"net": {"network_prediction_options": 2}}))
        process = subprocess.Popen(
            [
                # It takes commands on descriptor 3 and answers on 4.
                *("sh", "-c", 'exec 3<&0 4>&1 </dev/null >/dev/null; exec "$@"', "sh"),
                *(PROGRAM, *SWITCHES, "--remote-debugging-pipe", *switches),
                f"--user-data-dir={folder}/profile",
                "about:blank",
            ],
            env={"PATH": os.environ["PATH"], "HOME": folder},
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin
        assert process.stdout
        try:
            browser = Browser(process.stdin.fileno(), process.stdout.fileno(), seconds)
            yield browser
            browser.ask("Browser.close")
            process.wait(END_SECONDS)
        finally:
            process.kill()
            process.communicate()


class Page:
    """A tab: what it shows, and what it complains about."""

    def __init__(self, browser: Browser, *, width: int = 1920, height: int = 1080) -> None:
        self._browser = browser
        target = browser.ask("Target.createTarget", url="about:blank")
        attached = browser.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.resize(width, height)

    def ask(self, method: str, **parameters: object) -> Json:
        return self._browser.ask(method, self._session, **parameters)

    def resize(self, width: int, height: int) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def open(self, url: str) -> None:
        """Begin to load a page, before other tabs; `wait` for what must be there then."""
        self.ask("Page.bringToFront")
        told = self.ask("Page.navigate", url=url)
        if "errorText" in told:
            raise ChromiumError(f"{url}: {told['errorText']}")

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression, waited for if it is a promise."""
        told = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in told:
            raise ChromiumError(f"{script}: {_exception(told['exceptionDetails'])}")
        return told["result"].get("value")

    def wait(self, script: str, seconds: float = 30.0) -> Any:
        """Return the first true value of an expression; a page that is loading has none."""
        deadline = time.monotonic() + seconds
        trouble = ""
        while time.monotonic() < deadline:
            try:
                if value := self.evaluate(script):
                    return value
            except ChromiumError as error:
                trouble = f"; {error}"
            time.sleep(POLL_SECONDS)
        raise ChromiumError(f"waited {seconds:.0f} s in vain for {script}{trouble}")

    def complaints(self) -> list[str]:
        """Return the errors and warnings of the console since the last time."""
        found: list[str] = []
        self.evaluate("0")  # what was said before it has come then
        for event in self._browser.events():
            if event.get("sessionId") != self._session:
                continue
            name, said = event["method"], event["params"]
            if name == "Runtime.exceptionThrown":
                found.append(_exception(said["exceptionDetails"]))
            elif name == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning"):
                found.append(" ".join(str(one.get("value")) for one in said["args"]))
            elif name == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
                entry = said["entry"]
                found.append(f"{entry['text']} {entry.get('url', '')}".strip())
        return found

    def picture(self) -> bytes:
        """Return the page as a PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])


def _exception(details: Json) -> str:
    return str(details.get("exception", {}).get("description") or details.get("text"))
