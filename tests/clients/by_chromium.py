"""Chromium without a window, which the test drives over its debugging pipe.

A browser context has its own proxy, connections and memory of logins. As by drivers (Playwright,
Puppeteer), credentials are given when Chromium asks for them, which it does once a vendor has said
407: no request carries them before.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.clients.jobs import CLIENT_SECONDS, Job, Seen, answer
from tools.chromium import Browser, running

Json = dict[str, Any]


def chromium(jobs: Sequence[Job], authority: str, ca: Path) -> list[list[Seen]]:
    """Do all jobs of a login in one context: Chromium learns from the first that a login is needed.

    A context for each job would be a second for each.
    """
    found: dict[Job, list[Seen]] = {}
    known = f"--ignore-certificate-errors-spki-list={_key_of(ca)}"
    with running(known, seconds=CLIENT_SECONDS) as browser:
        for login in dict.fromkeys(job.login for job in jobs):
            with _context(browser, authority) as page:
                for job in jobs:
                    if job.login == login:
                        found[job] = [_visit(browser, page, url, login) for url in job.urls]
    return [found[job] for job in jobs]


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
