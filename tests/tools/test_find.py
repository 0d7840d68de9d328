"""Where a program comes from, with fake programs, a fake release server and a fake `go`."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tools.binaries import ETCD, PROJECTS, GoBuild, Project, Release, this_platform
from tools.find import Finder, NotFoundError, main, user_cache

PLATFORM = "plan9-mips"
GO_VERSION = "go1.26.8"


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def tells(version: str) -> str:
    return f'echo "thing, version {version} (branch: , revision: unknown)"'


def archive(*, top: str, names: tuple[str, ...] = ("server", "tool")) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in (*names, "../../outside"):
            content = f"#!/bin/sh\n{tells('3.1.0')} release\n".encode()
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


@dataclass
class ReleaseServer:
    """Serves one body for every path; `cut` announces all of it and sends half."""

    url: str
    body: bytes = b""
    cut: bool = False
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReleaseServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)  # loopback is not reached through one

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(state.body[: len(state.body) // 2] if state.cut else state.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state = ReleaseServer(url=f"http://127.0.0.1:{listening.server_port}")
        serving = threading.Thread(target=listening.serve_forever, args=(0.02,))
        serving.start()
        yield state
        listening.shutdown()
        serving.join()


@dataclass
class Place:
    """A machine of its own: its PATH, cache, `go`, and what the finder said."""

    root: Path
    project: Project
    said: list[str] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def built(self) -> Path:
        return self.cache / f"thing-3.1.0-{PLATFORM}"

    def finder(self) -> Finder:
        return Finder(
            projects=[self.project],
            platform=PLATFORM,
            cache=self.cache,
            path=os.pathsep.join([str(self.root / "old"), str(self.root / "bin")]),
            say=self.said.append,
        )

    def pin(self, body: bytes) -> None:
        """Pin the checksum of `body` as the release's."""
        sums = {PLATFORM: hashlib.sha256(body).hexdigest()}
        self.project = replace(self.project, release=replace(self.project.release, sha256=sums))

    def go(self, build: str = "", version: str = GO_VERSION, toolchain: str = "local") -> None:
        """Install a `go` that logs its builds; by default they succeed."""
        succeed = f"""
            for name in server tool; do
              printf '#!/bin/sh\\n%s\\n' '{tells("3.1.0")} source' > "$out$name"
              chmod +x "$out$name"
            done"""
        script(
            self.root / "go-bin" / "go",
            f"""
            if [ "$1" = env ]; then echo {version}; echo {toolchain}; exit; fi
            echo "$PWD $GOFLAGS $*" >> {self.root}/builds
            while [ "$1" != -o ]; do shift; done
            out=$2
            {build or succeed}""",
        )

    def builds(self) -> list[str]:
        log = self.root / "builds"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def left_behind(self) -> list[str]:
        """Return what the cache holds beside locks."""
        names = [path.name for path in self.cache.iterdir()] if self.cache.exists() else []
        return [name for name in names if not name.endswith(".lock")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    wrapper = tmp_path / "wrapper"
    wrapper.mkdir()
    (wrapper / "go.mod").write_text("module wrapper.invalid\n\ngo 1.26.7\n", encoding="utf-8")
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "go-bin"), "/usr/bin", "/bin"]))
    return Place(
        root=tmp_path,
        project=Project(
            name="thing",
            version="3.1.0",
            programs=("server", "tool"),
            release=Release(url="http://127.0.0.1:9/v{version}/thing-{platform}.tar.gz"),
            build=GoBuild(
                module="example.invalid/thing",
                module_version="v0.301.0",
                packages=("cmd/server", "cmd/tool"),
                tags="few",
                ldflags="-s -w",
                folder=wrapper,
            ),
        ),
    )


def test_the_users_own_comes_first(place: Place) -> None:
    """Whoever has the right major version waits for nothing and downloads nothing."""
    own = script(place.root / "bin" / "tool", tells("3.99.0"))
    script(place.built / "tool", tells("3.1.0"))
    assert place.finder().find("tool") == own
    assert place.said == []


def test_an_old_one_on_path_is_passed_over_and_named(place: Place) -> None:
    """Prometheus 2 cannot read these rules: it is skipped aloud, the next one is taken."""
    old = script(place.root / "old" / "tool", f"{tells('2.45.0')} >&2")
    own = script(place.root / "bin" / "tool", tells("3.0.1"))
    assert place.finder().find("tool") == own
    assert place.said == [f"tool: skipped {old}, which is 2.45.0; wanted is 3.x"]


@pytest.mark.parametrize("text", ["exit 1", f"{tells('3.1.0')}; exit 1", "echo hello"])
def test_a_broken_one_on_path_is_passed_over(place: Place, text: str) -> None:
    """A wrapper that fails would fail again in the lab, far from its cause."""
    broken = script(place.root / "bin" / "tool", text)
    cached = script(place.built / "tool", tells("3.1.0"))
    assert place.finder().find("tool") == cached
    assert place.said == [f"tool: skipped {broken}, which does not tell its version; wanted is 3.x"]


def test_what_is_cached_is_not_fetched_again(place: Place, server: ReleaseServer) -> None:
    """The minutes are spent once a machine."""
    cached = script(place.built / "server", tells("3.1.0"))
    place.go()
    assert place.finder().find("server") == cached
    assert (place.builds(), server.asked) == ([], [])


def test_a_pinned_release_is_downloaded(place: Place, server: ReleaseServer) -> None:
    """One archive brings all programs of the project, and nothing else of it is unpacked."""
    server.body = archive(top="thing")
    url = f"{server.url}/v{{version}}/thing-{{platform}}.tar.gz"
    place.project = replace(place.project, release=Release(url=url))
    place.pin(server.body)
    place.go()
    assert place.finder().find("tool") == place.built / "tool"
    assert place.finder().find("server") == place.built / "server"
    assert sorted(file.name for file in place.built.iterdir()) == ["server", "tool"]
    assert not list(place.root.rglob("outside"))
    assert server.asked == [f"/v3.1.0/thing-{PLATFORM}.tar.gz"]
    assert (place.builds(), place.left_behind()) == ([], [place.built.name])


def test_a_changed_release_is_refused(place: Place, server: ReleaseServer) -> None:
    """What isn't what was pinned is neither run nor kept, and nothing else is tried silently."""
    server.body = archive(top="thing")
    place.project = replace(place.project, release=Release(url=server.url))
    place.pin(b"something else")
    place.go()
    with pytest.raises(NotFoundError, match=r"has sha256 [0-9a-f]{64}, not [0-9a-f]{64}"):
        place.finder().find("tool")
    assert (place.builds(), place.left_behind()) == ([], [])


@pytest.mark.parametrize("body", [b"no archive", archive(top="thing", names=("server",))])
def test_a_release_of_another_form_leaves_nothing(
    place: Place, server: ReleaseServer, body: bytes
) -> None:
    """A program missing in the archive is an error here, not in whatever starts it later."""
    server.body = body
    place.project = replace(place.project, release=Release(url=server.url))
    place.pin(body)
    with pytest.raises(NotFoundError, match="unexpected form"):
        place.finder().find("tool")
    assert place.left_behind() == []


def test_an_interrupted_download_leaves_nothing_and_is_built_instead(
    place: Place, server: ReleaseServer
) -> None:
    """Half an archive is no checksum error: the network broke, and the source is there."""
    server.body, server.cut = archive(top="thing"), True
    place.project = replace(place.project, release=Release(url=server.url))
    place.pin(server.body)
    place.go()
    assert place.finder().find("tool") == place.built / "tool"
    assert len(place.builds()) == 1
    assert any("ended after" in line and "building it instead" in line for line in place.said)
    assert place.left_behind() == [place.built.name]


def test_offline_the_download_fails_fast(place: Place) -> None:
    """Without a network nobody waits a minute to learn so."""
    place.pin(b"anything")
    place.go("echo 'dial tcp: no route to host'; exit 1")
    started = time.monotonic()
    with pytest.raises(NotFoundError, match="no route to host"):
        place.finder().find("tool")
    assert time.monotonic() - started < 2


def test_both_programs_come_from_one_build(place: Place) -> None:
    """They share their packages: two builds would take twice as long. go.sum is binding."""
    place.go()
    finder = place.finder()
    assert finder.find("server") == place.built / "server"
    assert finder.find("tool") == place.built / "tool"
    (build,) = place.builds()
    assert build.startswith(f"{place.project.build.folder} -mod=readonly ")
    assert build.endswith("example.invalid/thing/cmd/server example.invalid/thing/cmd/tool")
    assert "-tags few" in build
    assert any("example.invalid/thing@v0.301.0" in line for line in place.said)


def test_two_set_ups_at_once_build_once(place: Place) -> None:
    """Two terminals, or xdist's workers, do not compete for the processor with the same work."""
    place.go(
        "sleep 0.5; for n in server tool; do printf '#!/bin/sh\\necho \"version 3.1.0\"\\n' "
        '> "$out$n"; chmod +x "$out$n"; done'
    )
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: place.finder().find("tool"), range(4)))
    assert found == [place.built / "tool"] * 4
    assert len(place.builds()) == 1
    assert any("another set-up" in line for line in place.said)


def test_a_failed_build_shows_why_and_what_to_do(place: Place) -> None:
    """go's own last lines, then the remedy; the cache is as it was."""
    place.go("seq 100; echo 'main.go:1: undefined: x' >&2; exit 3")
    with pytest.raises(NotFoundError) as caught:
        place.finder().find("tool")
    lines = str(caught.value).splitlines()
    assert lines[-2] == "main.go:1: undefined: x"
    assert len(lines) == 16
    assert "failed with code 3" in lines[-1]
    assert "go env GOPROXY" in lines[-1]
    assert "server and tool 3.x on PATH" in lines[-1]
    assert place.left_behind() == []


def test_a_build_that_makes_nothing_is_no_success(place: Place) -> None:
    """A path that `find` returned can be run."""
    place.go("true")
    with pytest.raises(NotFoundError, match="does not run"):
        place.finder().find("tool")
    assert place.left_behind() == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_set_up_leaves_no_compiler_and_no_rest(
    place: Place, stop: signal.Signals
) -> None:
    """Ctrl-C, or a CI job's time-out, frees the machine at once."""
    place.go(f"sleep 60 & echo $! > {place.root}/pid; wait")  # go and a compiler it started
    environment = {
        "PATH": f"{place.root}/go-bin:/usr/bin:/bin",
        "XDG_CACHE_HOME": str(place.root / "xdg"),
        "HOME": str(place.root),
    }
    command = [sys.executable, "-m", "tools.find", "prometheus"]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], env=environment, stderr=subprocess.PIPE, text=True
    ) as set_up:
        _wait_for(lambda: (place.root / "pid").exists() and (place.root / "pid").read_text() != "")
        set_up.send_signal(stop)
        _, errors = set_up.communicate(timeout=5)
    assert set_up.returncode == 2
    assert errors.splitlines()[-1] == "interrupted; nothing half-made was left behind"
    compiler = (place.root / "pid").read_text(encoding="utf-8").strip()
    _wait_for(lambda: not _runs(compiler))
    assert list((place.root / "xdg" / "proxy-observability").iterdir()) == [
        place.root / "xdg" / "proxy-observability" / ".prometheus.lock"
    ]


def _runs(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # dead, though nobody asked yet how it ended


def _wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_rests_of_a_killed_set_up_are_cleared(place: Place) -> None:
    """Kill -9 during a build must not cost the disk for ever."""
    (place.cache / ".incoming-thing-abc" / "programs").mkdir(parents=True)
    place.go()
    place.finder().find("tool")
    assert place.left_behind() == [place.built.name]


def test_without_go_one_line_says_what_to_do(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data analyst without Go learns the two remedies, not a stack trace."""
    monkeypatch.setenv("PATH", str(place.root / "nowhere"))
    with pytest.raises(NotFoundError) as caught:
        place.finder().find("tool")
    assert str(caught.value) == (
        "thing 3.1.0: not on PATH, and there is no Go to build it with; "
        "install Go 1.26.7 or newer, or put thing 3.1.0 on PATH"
    )


@pytest.mark.parametrize(
    ("version", "toolchain", "usable"),
    [
        ("go1.26.7", "local", True),
        ("go1.27rc1", "local", True),
        ("go1.26.6", "local", False),
        ("go1.21.0", "auto", True),  # fetches the newer one by itself
        ("go1.20.14", "auto", False),  # knows nothing of toolchains
    ],
)
def test_an_old_go_is_told_so_before_it_tries(
    place: Place, version: str, toolchain: str, usable: bool
) -> None:
    """Go's own message about its age is three lines of riddles."""
    place.go(version=version, toolchain=toolchain)
    if usable:
        assert place.finder().find("tool") == place.built / "tool"
    else:
        with pytest.raises(NotFoundError, match=f"is {version}, too old .* install Go 1.26.7"):
            place.finder().find("tool")


def test_a_cache_that_cannot_be_written_is_one_line(place: Place) -> None:
    """A read-only home is named, not traced."""
    place.cache.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(NotFoundError, match=r"the cache .* can't be used"):
        place.finder().find("tool")


def test_envoy_is_the_environments_own(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version that requirements pin, before whatever PATH has."""
    on_path = script(place.root / "bin" / "envoy", tells("1.2.3"))
    monkeypatch.setattr(sys, "executable", str(place.root / "venv" / "python"))
    assert place.finder().find("envoy") == on_path
    beside = script(place.root / "venv" / "envoy", tells("1.40.0"))
    assert place.finder().find("envoy") == beside


def test_an_unknown_name_lists_the_known(place: Place) -> None:
    """A slip of the finger costs one reading."""
    with pytest.raises(NotFoundError, match="envoy, server, tool"):
        place.finder().find("toll")


def test_the_command_prints_paths_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shell scripts read standard output: news and errors go elsewhere, with exit code 2."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(place.root / "xdg"))
    folder = place.root / "xdg" / "proxy-observability" / f"prometheus-3.16.0-{this_platform()}"
    program = script(folder / "promtool", tells("3.16.0"))
    assert main(["promtool"]) == 0
    assert capsys.readouterr().out == f"{program}\n"
    assert main(["promtol"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_a_relative_cache_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the XDG specification has it; else each folder would grow a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert user_cache() == Path.home() / ".cache" / "proxy-observability"


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_every_pinned_project_can_be_built(project: Project) -> None:
    """The wrapper module pins the version and the checksums of exactly what the table names."""
    build = project.build
    module_file = build.folder / build.modfile
    module = module_file.read_text(encoding="utf-8")
    sums = module_file.with_suffix(".sum").read_text(encoding="utf-8")
    assert f"{build.module} {build.module_version}" in module
    assert f"{build.module} {build.module_version} h1:" in sums
    called = []
    for package in build.packages_to_build():
        if package.startswith("./"):
            assert list((build.folder / package).glob("*.go"))
        else:
            assert re.search(rf"^(tool|)\s+{re.escape(package)}$", module, re.MULTILINE)
        # What go calls the program: the last part that is no major version.
        *_, last = [part for part in package.split("/") if not re.fullmatch(r"v\d+", part)]
        called.append(build.renames.get(last, last))
    assert called == list(project.programs)
    assert project.version in build.ldflags or project is ETCD  # which has it in its source
    assert all(len(sha) == 64 for sha in project.release.sha256.values())


def test_a_wrapper_s_own_code_decides_where_it_is_kept(tmp_path: Path) -> None:
    """An edit of it would else meet yesterday's program in the cache."""
    (tmp_path / "tool").mkdir()
    build = replace(PROJECTS[0].build, folder=tmp_path)
    project = replace(PROJECTS[0], build=build)
    assert project.slot == f"{project.name}-{project.version}"
    slots = set()
    for code in ("package main", "package main // edited"):
        (tmp_path / "tool" / "main.go").write_text(code)
        slots.add(project.slot)
    assert len(slots) == 2


def test_two_versions_of_a_project_are_told_apart(place: Place) -> None:
    """By the project's name before the program's."""
    script(place.built / "server", tells("3.1.0"))
    assert place.finder().find("thing/server") == place.built / "server"
    with pytest.raises(NotFoundError, match="other/server: not a program"):
        place.finder().find("other/server")
