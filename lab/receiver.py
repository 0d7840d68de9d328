"""What receives the lab's alerts: webhooks that print them, and one that expects a heartbeat.

Alertmanager posts to one path for each receiver: /critical, /warning, /heartbeat. The last stands
for a service outside the cluster: it is silent while Watchdog comes, and raises HEARTBEAT_LOST
itself when Watchdog stops coming.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from lab.pages import QuietServer

RECEIVERS = ("critical", "warning", "heartbeat")
HEARTBEAT = "heartbeat"
HEARTBEAT_LOST = "HeartbeatLost"
"""Not an alert of rules/: the name of what the heartbeat's receiver raises itself."""

FIRING, RESOLVED = "firing", "resolved"
_POLL_SECONDS = 0.1
_WIDTH = 12  # of the first column, as everywhere in the lab's output

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One alert that began to fire or ended; `at` is of time.monotonic()."""

    at: float
    receiver: str
    status: str
    labels: Mapping[str, str]
    summary: str
    description: str

    @property
    def alert(self) -> str:
        return self.labels.get("alertname", "")

    def text(self) -> str:
        """Return the alert as the receiver prints it."""
        severity = self.labels.get("severity", "-")
        more = {k: v for k, v in sorted(self.labels.items()) if k not in ("alertname", "severity")}
        labels = " ".join(f"{name}={value}" for name, value in more.items())
        lines = [f"{self.status:<{_WIDTH}}{self.alert}  {severity} by /{self.receiver}  {labels}"]
        if self.status == FIRING:
            lines += [" " * _WIDTH + line for line in (self.summary, self.description) if line]
        return "\n".join(lines)


class Receiver:
    """Notes and prints what arrives.

    A heartbeat is lost after `silence_seconds`. The receivers named in `refused` answer 403, as a
    service does to a credential that has expired.
    """

    def __init__(self, *, silence_seconds: float, say: Say) -> None:
        self.silence_seconds = silence_seconds
        self.refused: frozenset[str] = frozenset()
        self._say = say
        self._notices: list[Notice] = []
        self._active: dict[tuple[str, str], Notice] = {}
        self._beat: float | None = None
        self._lost = False
        self._lock = threading.Lock()

    def since(self, at: float) -> list[Notice]:
        """Return what arrived after a moment of time.monotonic()."""
        with self._lock:
            return [notice for notice in self._notices if notice.at >= at]

    def active(self) -> list[str]:
        """Return the alerts that arrived and have not ended."""
        with self._lock:
            lost = [HEARTBEAT_LOST] if self._lost else []
            return sorted({*lost, *(notice.alert for notice in self._active.values())})

    def heartbeat_seconds(self) -> float | None:
        """Return how long ago Watchdog came last; None before the first."""
        with self._lock:
            return None if self._beat is None else time.monotonic() - self._beat

    def take(self, receiver: str, message: Any, at: float) -> None:
        """Note a message of Alertmanager's webhook, version 4.

        Raises:
            KeyError, TypeError, AttributeError: the message is malformed.
        """
        with self._lock:
            for alert in message["alerts"]:
                notice = Notice(
                    at=at,
                    receiver=receiver,
                    status=alert["status"],
                    labels=alert["labels"],
                    summary=alert["annotations"].get("summary", ""),
                    description=alert["annotations"].get("description", ""),
                )
                if receiver == HEARTBEAT:
                    self._take_heartbeat(notice)
                else:
                    self._take_alert(notice, (receiver, alert["fingerprint"]))

    def look(self, now: float) -> None:
        """Raise HEARTBEAT_LOST once the heartbeat is late."""
        with self._lock:
            if self._beat is None or self._lost or now - self._beat <= self.silence_seconds:
                return
            self._lost = True
            self._raise_own(
                now,
                FIRING,
                "Watchdog no longer arrives: alerts may not get through.",
                f"None came for {now - self._beat:.1f} s; {self.silence_seconds:g} s are allowed.",
            )

    def _take_alert(self, notice: Notice, key: tuple[str, str]) -> None:
        if notice.status == FIRING and key not in self._active:
            self._active[key] = notice
        elif notice.status == RESOLVED and key in self._active:
            del self._active[key]
        else:
            return  # sent again, because another alert of its group changed
        self._note(notice)

    def _take_heartbeat(self, notice: Notice) -> None:
        self._beat = notice.at
        if self._lost:
            self._lost = False
            self._raise_own(notice.at, RESOLVED, "Watchdog arrives again.", "")

    def _raise_own(self, at: float, status: str, summary: str, description: str) -> None:
        self._note(
            Notice(
                at=at,
                receiver=HEARTBEAT,
                status=status,
                labels={"alertname": HEARTBEAT_LOST, "severity": "critical"},
                summary=summary,
                description=description,
            )
        )

    def _note(self, notice: Notice) -> None:
        self._notices.append(notice)
        self._say(notice.text())


@contextmanager
def listening(port: int, receiver: Receiver) -> Iterator[None]:
    """Serve `receiver` on loopback for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(self._status(self.path.removeprefix("/"), body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _status(self, name: str, body: bytes) -> int:
            if name not in RECEIVERS:
                return 404
            if name in receiver.refused:
                return 403
            try:
                receiver.take(name, json.loads(body), time.monotonic())
            except (ValueError, KeyError, TypeError, AttributeError):
                return 400
            return 200

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing: the receiver prints alerts."""

    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_POLL_SECONDS):
            receiver.look(time.monotonic())

    with QuietServer(("127.0.0.1", port), Handler) as server:
        threads = [
            threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True),
            threading.Thread(target=watch, daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            server.shutdown()
