"""The lab's receiver notes each alert once, and a lost heartbeat in time."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from lab.receiver import FIRING, HEARTBEAT_LOST, RESOLVED, Receiver, listening
from tests.ports import free_ports


def message(alert: str, status: str = FIRING, *, fingerprint: str = "1", **labels: str) -> Any:
    """What Alertmanager's webhook sends for one alert."""
    return {
        "version": "4",
        "status": status,
        "alerts": [
            {
                "status": status,
                "labels": {"alertname": alert, **labels},
                "annotations": {"summary": f"{alert} it is.", "description": "5 of them."},
                "fingerprint": fingerprint,
            }
        ],
    }


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def receiver(said) -> Receiver:
    return Receiver(silence_seconds=5.0, say=said.append)


def test_an_alert_is_noted_when_it_begins_and_when_it_ends(receiver, said):
    """Alertmanager sends it again when another alert of its group changes."""
    receiver.take("critical", message("A", severity="critical", proxy_vendor="vendor-b"), 1.0)
    receiver.take("critical", message("A", severity="critical", proxy_vendor="vendor-b"), 2.0)
    assert receiver.active() == ["A"]
    receiver.take(
        "critical", message("A", RESOLVED, severity="critical", proxy_vendor="vendor-b"), 3.0
    )
    assert receiver.active() == []
    assert [(n.at, n.status) for n in receiver.since(0.0)] == [(1.0, FIRING), (3.0, RESOLVED)]
    assert said[0].splitlines()[0] == "firing      A  critical by /critical  proxy_vendor=vendor-b"
    assert [line.strip() for line in said[0].splitlines()[1:]] == ["A it is.", "5 of them."]


def test_the_same_alert_of_two_vendors_is_two(receiver):
    """The end of one is not the end of the other."""
    receiver.take("critical", message("A", proxy_vendor="a"), 1.0)
    receiver.take("critical", message("A", proxy_vendor="b", fingerprint="2"), 1.0)
    receiver.take("critical", message("A", RESOLVED, proxy_vendor="a"), 2.0)
    assert receiver.active() == ["A"]


def test_the_heartbeat_is_missed_after_its_time_out_and_not_before(receiver):
    """Silence before the first beat is a lab that is starting."""
    receiver.look(100.0)
    receiver.take("heartbeat", message("Watchdog"), 100.0)
    receiver.look(105.0)
    assert receiver.since(0.0) == []
    receiver.look(105.1)
    receiver.look(106.0)
    assert receiver.active() == [HEARTBEAT_LOST]
    receiver.take("heartbeat", message("Watchdog"), 107.0)
    assert receiver.active() == []
    assert [(n.at, n.alert, n.status) for n in receiver.since(0.0)] == [
        (105.1, HEARTBEAT_LOST, FIRING),
        (107.0, HEARTBEAT_LOST, RESOLVED),
    ]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/critical", json.dumps(message("A")).encode(), 200),
        ("/warning", json.dumps(message("A")).encode(), 403),
        ("/nobody", json.dumps(message("A")).encode(), 404),
        ("/critical", b"{", 400),
        ("/critical", b'{"alerts": 1}', 400),
        ("/critical", b'{"alerts": [{}]}', 400),
    ],
)
def test_answers_to_alertmanager(receiver, path, body, status):
    """Alertmanager must see a failure, and a malformed message must stop nothing."""
    (port,) = free_ports(["127.0.0.1"])
    receiver.refused = frozenset({"warning"})
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, method="POST")
    with listening(port, receiver):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                answered = answer.status
        except urllib.error.HTTPError as error:
            answered = error.code
    assert answered == status
    assert receiver.active() == (["A"] if status == 200 else [])
