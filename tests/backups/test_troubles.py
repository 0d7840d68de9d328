"""An API server, a Prometheus or a volume in trouble costs one line, and no backup."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from backups.__main__ import main
from backups.names import BackupError
from backups.objects import Store, back_up, snapshot
from backups.volumes import BACKUP_LABEL, CLAIMS_LABEL, Snapshots, is_complete
from tests.certificates import Authority
from tests.pages import answering
from tests.programs import stand_in


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>", "no JSON"),
        (200, b"[]", "no list"),
        (200, b'{"items": null}', "no list"),
        (429, b"slow down", "429 slow down"),
        (500, b"", "500 "),
        (403, b'{"message": "is forbidden"}', "403 is forbidden"),
    ],
)
def test_the_api_server_answers_oddly(monkeypatch, tmp_path, status, body, said):
    context = Authority().server(tmp_path, ["127.0.0.1"])
    (tmp_path / "token").write_text("hunter2")
    with answering(body, status, context) as page:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(page.port))
        with pytest.raises(BackupError, match=said) as told:
            Snapshots("monitoring", tmp_path).by_backup()
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("body", [b"<html>", b'{"data": null}', b"[]"])
def test_prometheus_answers_oddly(tmp_path, body):
    for name in ("username", "password"):
        (tmp_path / name).write_text("x")
    with (
        answering(body) as page,
        pytest.raises(BackupError, match="not as a Prometheus does"),
    ):
        snapshot(f"http://127.0.0.1:{page.port}", tmp_path, None)


def test_two_at_once(tmp_path):
    """The second would delete the snapshot that the first copies, and what of it has arrived."""
    (mark := tmp_path / "snapshots" / "one" / "complete.json").parent.mkdir(parents=True)
    mark.write_text("{}")
    code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), 2); print(flush=True)"
    code += "; input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout
        other.stdout.readline()
        with pytest.raises(BackupError, match="another backup runs"):
            back_up(
                Store(rclone=("false",), remote="backup:x"),
                prometheus="http://127.0.0.1:1",
                login=tmp_path,
                data=tmp_path,
                keep=1,
                say=print,
            )
        other.kill()
    assert mark.exists()


def test_some_volumes_are_no_backup():
    """Else nights in which the second snapshot is refused push out the last whole backup."""

    def taken(claims: int, ready: bool = True) -> dict:
        labels = {BACKUP_LABEL: "20261130-030000", CLAIMS_LABEL: str(claims)}
        return {"metadata": {"labels": labels}, "status": {"readyToUse": ready}}

    assert is_complete([taken(2), taken(2)])
    assert not is_complete([taken(2)])
    assert not is_complete([taken(2), taken(2, ready=False)])


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path, capfd):
    """So is a full disk."""
    file = tmp_path / "file"
    file.write_text("")
    store = ["--rclone=true", "--rclone-config=x", "--remote=backup:x"]
    assert main(["restore", *store, f"--data={file}", "--backup=20261130-030000"]) == 1
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_sigterm_ends_it(tmp_path):
    """The kernel's default would not end a container's first process."""
    stand_in(tmp_path / "rclone", "echo >&2 begun\nexec sleep 60")
    command = [sys.executable, "-m", "backups", "restore", f"--rclone={tmp_path}/rclone"]
    command += ["--rclone-config=x", "--remote=backup:x", f"--data={tmp_path / 'data'}"]
    (tmp_path / "data").mkdir()
    with subprocess.Popen(
        [*command, "--backup=20261130-030000"], stderr=subprocess.PIPE, text=True
    ) as process:
        for _ in range(3000):
            if Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().strip():
                break
            threading.Event().wait(0.02)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == "stopped\n"
