"""A stack stays in the cluster of its first `up`, whatever a kubeconfig says."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.engine.engine import Engine

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def with_cluster(engine: Engine) -> Callable[[Edit], str]:
    """Return the path of a copy of the kubeconfig, after `edit` changed its cluster."""

    def copy(edit: Edit) -> str:
        config = json.loads(engine.kubeconfig.read_text())
        edit(config)
        path = engine.folder / "elsewhere" / "config"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(config))
        return str(path)

    return copy


@pytest.fixture
def relay(engine: Engine) -> Iterator[int]:
    """Return a port of loopback that leads to the API server."""
    config = json.loads(engine.kubeconfig.read_text())
    server = urlsplit(config["clusters"][0]["cluster"]["server"])
    target = (server.hostname or "", server.port or 443)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    near, _ = listener.accept()
                except OSError:
                    return
                far = socket.create_connection(target)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_copy, args=pair, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_the_same_cluster_by_another_path_and_address(
    engine: Engine, relay: int, with_cluster: Callable[[Edit], str]
) -> None:
    """Each colleague's kubeconfig was a change, and another address replaced every object."""
    path = with_cluster(lambda config: None)
    arguments = ("preview", "--expect-no-changes", "--suppress-outputs")
    engine.ok(*arguments, KUBECONFIG=path)

    def readdress(config: dict[str, Any]) -> None:
        cluster = config["clusters"][0]["cluster"]
        if not cluster.get("insecure-skip-tls-verify"):
            cluster["tls-server-name"] = urlsplit(cluster["server"]).hostname
        cluster["server"] = f"https://127.0.0.1:{relay}"

    engine.ok(*arguments, KUBECONFIG=with_cluster(readdress))


@pytest.mark.usefixtures("_file_as_before")
def test_another_cluster_is_refused_and_nothing_touched(
    engine: Engine, wrong_cluster: Path
) -> None:
    """`up` made every object in the wrong cluster and deleted all in the right one."""

    def use_ours(keys: dict[str, Any]) -> None:  # then no namespace is in the way
        keys["crawlers"] = {"createNamespaces": False}
        keys["prometheus"]["createNamespace"] = False

    engine.edit(use_ours)
    before = engine.ids()
    for command in ("preview", "up --yes --skip-preview"):
        done = engine.pulumi(*command.split(), KUBECONFIG=str(wrong_cluster))
        assert done.code != 0
        assert "cluster: this stack belongs to the cluster whose namespace" in done.text
        assert "Traceback" not in done.text
    assert engine.ids() == before
    there = Engine(engine.folder, engine.stack, wrong_cluster)
    assert there.namespaces() == set()


def test_a_context_or_cluster_that_is_not_there_fails_the_preview(
    engine: Engine, with_cluster: Callable[[Edit], str]
) -> None:
    """A green preview once proved nothing: no cluster had been asked."""

    def rename(config: dict[str, Any]) -> None:
        config["contexts"][0]["name"] = config["current-context"] = "another"

    done = engine.pulumi("preview", KUBECONFIG=with_cluster(rename))
    assert done.code != 0
    assert "does not exist" in done.text

    def unreachable(config: dict[str, Any]) -> None:
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"  # discard: closed

    done = engine.pulumi("preview", KUBECONFIG=with_cluster(unreachable))
    assert done.code != 0
    assert "connection refused" in done.text


def test_a_stack_moves_to_a_rebuilt_cluster(engine: Engine, wrong_cluster: Path) -> None:
    """What the old cluster held is forgotten; the state's new objects are the new cluster's."""
    exported = engine.ok("stack", "export").text
    there = Engine(engine.folder, engine.stack, wrong_cluster)
    try:
        engine.ok("state", "delete", "--all", "--yes")
        done = engine.ok("preview", "--suppress-outputs", KUBECONFIG=str(wrong_cluster))
        assert set(done.changes) == {"creat"}
        assert there.namespaces() == set()
    finally:
        path = engine.folder / "state.json"
        path.write_text(exported)
        engine.ok("stack", "import", "--file", str(path))
    engine.preview("--expect-no-changes")
