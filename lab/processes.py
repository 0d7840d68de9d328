"""Processes of the lab: they end when the lab ends, however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeVar

from settings.loading import SettingsError

T = TypeVar("T")

STOP_GRACE_SECONDS = 4.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)


class LabError(Exception):
    """The lab could not run; the text is one line that says why and what to do."""


class StopRequested(Exception):
    """SIGINT or SIGTERM arrived."""


ENDED_EARLY = (LabError, StopRequested, SettingsError, ValueError, OSError)
"""A program of the lab ends with one of these when it could not run or was stopped."""


def reasons_of(error: Exception) -> list[str]:
    """Return why it ended, one of ENDED_EARLY, a line each."""
    if isinstance(error, StopRequested):
        return [f"stopped by {error}"]
    return [*error.findings] if isinstance(error, SettingsError) else [str(error)]


@dataclass(frozen=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path | None


class Children:
    """Processes that end with this object, in reverse order of their start.

    Each runs in a session of its own: Ctrl-C reaches the lab alone, which ends them in order. The
    kernel ends them if the lab is killed.
    """

    def __init__(self) -> None:
        self._running: list[_Child] = []

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> int:
        """Start `command`, its output at the end of `log`; return its process number.

        Args:
            folder: its working directory; None is the lab's.

        Raises:
            LabError: the program is missing or cannot be executed.
        """
        environment = environment or {}
        with log.open("ab") as output:  # a restarted child keeps the log of its first run
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **environment},
                    cwd=folder,
                    start_new_session=True,
                    preexec_fn=_die_with_parent,
                )
            except OSError as error:
                raise LabError(f"{name}: cannot start {command[0]}: {error.strerror}") from None
        self._running.append(_Child(name, process, log, command, environment, folder))
        return process.pid

    def end(self, name: str, number: signal.Signals) -> Callable[[], int]:
        """End the named child; return a function that starts it again as it was.

        Raises:
            LabError: it, or another child, had ended before by itself.
        """
        self.check()
        child = next(child for child in self._running if child.name == name)
        self._running.remove(child)
        child.process.send_signal(number)
        try:
            child.process.wait(STOP_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        return lambda: self.start(
            name,
            child.command,
            log=child.log,
            environment=child.environment,
            folder=child.folder,
        )

    def check(self) -> None:
        """Raise LabError if a child has ended by itself."""
        self._check(self._running)

    def wait(self, condition: Callable[[], T], seconds: float, poll_seconds: float = 0.1) -> T:
        """Return the condition's value once it is true, or when the time is over.

        Raises:
            LabError: a child ended by itself meanwhile.
        """
        deadline = time.monotonic() + seconds
        while True:
            # First: what the condition asks may be the child that is gone.
            self.check()
            if (value := condition()) or time.monotonic() >= deadline:
                return value
            time.sleep(poll_seconds)

    def _check(self, running: Iterable[_Child]) -> None:
        for child in running:
            code = child.process.poll()
            if code is not None:
                raise LabError(f"{child.name} {_how_it_ended(code)}; {_last_line(child.log)}")

    def wait_for_end(self, name: str) -> None:
        """Return once the named child has ended well.

        Raises:
            LabError: it or any other child ended badly.
        """
        child = next(child for child in self._running if child.name == name)
        while child.process.poll() is None:
            # Without the child itself, which may end well at any moment.
            self._check(one for one in self._running if one is not child)
            time.sleep(0.02)
        if child.process.returncode != 0:
            self.check()
        self._running.remove(child)

    def stop(self) -> None:
        """End every child by SIGTERM, and by SIGKILL if it stays. Never raises."""
        with _uninterrupted():
            for child in reversed(self._running):
                with contextlib.suppress(ProcessLookupError):
                    child.process.terminate()
            deadline = time.monotonic() + STOP_GRACE_SECONDS
            for child in reversed(self._running):
                try:
                    child.process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    child.process.kill()
                    child.process.wait()
            self._running.clear()


@contextlib.contextmanager
def children() -> Iterator[Children]:
    """Give a `Children` whose processes end with the block."""
    family = Children()
    try:
        yield family
    finally:
        family.stop()


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, `kill`, and a terminal that was closed."""


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise StopRequested at the first of STOP_SIGNALS, and ignore later ones."""

    def request_stop(signum: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise StopRequested(signal.Signals(signum).name)

    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]  # nohup started the lab, so it goes on
    for number in before:
        signal.signal(number, request_stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def require_free(sockets: Iterable[tuple[str, int]]) -> None:
    """Raise LabError naming the first address and port that something else listens on."""
    for address, port in sockets:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise LabError(
                    f"port {port} on {address} cannot be used ({error.strerror}): "
                    "stop what uses it, or choose other ports with PORT_BASE=13100"
                ) from None


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended by itself with code {code}"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"its last line: {lines[-1][-300:]} (all of it: {log})" if lines else f"see {log}"
