"""Chromium without a window, which the test drives over its debugging pipe.

A browser context has its own proxy, connections and memory of logins. As by drivers (Playwright,
Puppeteer), credentials are given when Chromium asks for them, which it does once a vendor has said
407: no request carries them before.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import select
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.clients.jobs import CLIENT_SECONDS, REQUEST_SECONDS, Job, Seen, answer

Json = dict[str, Any]

SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    # It asks nobody anything of its own accord, and finds no host but the proxies' addresses.
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*, EXCLUDE ::1",
)


def chromium(jobs: Sequence[Job], authority: str, ca: Path) -> list[list[Seen]]:
    """Do all jobs of a login in one context: Chromium learns from the first that a login is needed.

    A context for each job would be a second for each.
    """
    found: dict[Job, list[Seen]] = {}
    with _running(ca) as browser:
        for login in dict.fromkeys(job.login for job in jobs):
            with _context(browser, authority) as page:
                for job in jobs:
                    if job.login == login:
                        found[job] = [_visit(browser, page, url, login) for url in job.urls]
    return [found[job] for job in jobs]


class Browser:
    """Sends commands to the browser, and keeps the events that come meanwhile."""

    def __init__(self, commands: int, told: int) -> None:
        self._commands, self._told = commands, told
        self._number, self._rest = 0, b""
        self._events: deque[Json] = deque()
        self._deadline = time.monotonic() + CLIENT_SECONDS

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
        while (message := self._next()).get("id") != number:
            if "method" in message:
                self._events.append(message)
        assert "error" not in message, (method, message["error"])
        return dict(message["result"])

    def event(self) -> Json:
        while not self._events:
            message = self._next()
            if "method" in message:
                self._events.append(message)
        return self._events.popleft()

    def _next(self) -> Json:
        while b"\0" not in self._rest:
            left = self._deadline - time.monotonic()
            readable, _, _ = select.select([self._told], [], [], max(0.0, left))
            assert readable, "Chromium says nothing"
            data = os.read(self._told, 1 << 20)
            assert data, "Chromium has ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))


@contextlib.contextmanager
def _running(ca: Path) -> Iterator[Browser]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # Else it opens connections that it may need, or may not.
        preferences = Path(folder) / "profile" / "Default" / "Preferences"
        preferences.parent.mkdir(parents=True)
        preferences.write_text(json.dumps({"net": {"network_prediction_options": 2}}))
        process = subprocess.Popen(
            [
                # It takes commands on descriptor 3 and answers on 4.
                *("sh", "-c", 'exec 3<&0 4>&1 </dev/null >/dev/null; exec "$@"', "sh"),
                *("chromium", *SWITCHES, "--remote-debugging-pipe"),
                f"--user-data-dir={folder}/profile",
                f"--ignore-certificate-errors-spki-list={_key_of(ca)}",
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
            browser = Browser(process.stdin.fileno(), process.stdout.fileno())
            yield browser
            browser.ask("Browser.close")
            process.wait(REQUEST_SECONDS)
        finally:
            process.kill()
            process.communicate()


def _key_of(ca: Path) -> str:
    """Return the key whose chains Chromium accepts although it knows no CA of them.

    It would read others' CAs from a database in its user's home, which takes a program to write.
    """
    key = x509.load_pem_x509_certificate(ca.read_bytes()).public_key()
    public = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public)
    return base64.b64encode(digest.finalize()).decode()


@contextlib.contextmanager
def _context(browser: Browser, authority: str) -> Iterator[str]:
    """Open a page in a context of its own, which pauses at each request and challenge."""
    context = browser.ask(
        "Target.createBrowserContext", proxyServer=authority, proxyBypassList="<-loopback>"
    )["browserContextId"]
    target = browser.ask("Target.createTarget", url="about:blank", browserContextId=context)
    attached = browser.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
    page = attached["sessionId"]
    browser.ask("Network.enable", page)
    browser.ask("Fetch.enable", page, handleAuthRequests=True)
    yield page
    # Else the site's icon is asked for once nobody is there to stop it.
    browser.ask("Page.navigate", page, url="about:blank")
    browser.ask("Target.disposeBrowserContext", browserContextId=context)


def _visit(browser: Browser, page: str, url: str, login: str) -> Seen:
    """Go to a page, and answer Chromium's pauses until the page is there or has failed."""
    browser.say("Page.navigate", page, url=url)
    told: Json | None = None
    asked: set[str] = set()
    while True:
        event = browser.event()
        if event.get("sessionId") != page:
            continue
        name, said = event["method"], event["params"]
        if name == "Fetch.requestPaused":
            if said["resourceType"] == "Document":
                browser.say("Fetch.continueRequest", page, requestId=said["requestId"])
            else:  # the site's icon, which nobody asked for
                reason = "BlockedByClient"
                browser.say(
                    "Fetch.failRequest", page, requestId=said["requestId"], errorReason=reason
                )
        elif name == "Fetch.authRequired":
            user, _, password = login.partition(":")
            give = bool(login) and said["requestId"] not in asked
            asked.add(said["requestId"])
            reply = (
                {"response": "ProvideCredentials", "username": user, "password": password}
                if give
                else {"response": "CancelAuth"}
            )
            browser.say(
                "Fetch.continueWithAuth",
                page,
                requestId=said["requestId"],
                authChallengeResponse=reply,
            )
        elif name == "Network.responseReceived" and said["type"] == "Document":
            told = said
        elif name == "Network.loadingFailed" and said["type"] == "Document":
            code = re.search(r"\b\d{3}\b", said["errorText"])
            return Seen(int(code[0]) if code else None, said["errorText"])
        elif name == "Network.loadingFinished" and told and said["requestId"] == told["requestId"]:
            body = browser.ask("Network.getResponseBody", page, requestId=told["requestId"])
            raw = body["body"].encode()
            if body["base64Encoded"]:
                raw = base64.b64decode(raw)
            response = told["response"]
            return answer(response["status"], raw, response["headers"])
