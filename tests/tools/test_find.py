"""Where a program comes from; programs, the release server and `go` are fakes."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.lab.conftest import until
from tests.pages import Answer, Asked, serving
from tests.programs import stand_in
from tools.binaries import GoBuild, Project, Release, this_platform
from tools.find import Finder, NotFoundError, main, user_cache

PLATFORM = "plan9-mips"
GO_VERSION = "go1.26.8"
ARCHIVE = f"thing-3.1.0.{PLATFORM}.tar.gz"


def prints(version: str) -> str:
    return f'echo "thing, version {version} (branch: , revision: unknown)"'


def archive(*, top: str, names: tuple[str, ...] = ("server", "tool")) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in (*names, "../../outside"):
            content = f"#!/bin/sh\n{prints('3.1.0')} release\n".encode()
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


@dataclass
class ReleaseServer:
    """Serves the files of a release; `truncated` announces the archive and sends half of it."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    truncated: bool = False
    requests: list[str] = field(default_factory=list)

    def publish(self, body: bytes, *, checksum: str = "") -> None:
        """Offer an archive and a sha256sums.txt that lists it, by default correctly."""
        line = f"{checksum or hashlib.sha256(body).hexdigest()}  {ARCHIVE}\n"
        self.files = {ARCHIVE: body, "sha256sums.txt": f"{'0' * 64}  other.tar.gz\n{line}".encode()}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReleaseServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)  # a proxy cannot reach this machine's loopback

    def answer(asked: Asked) -> Answer:
        state.requests.append(asked.path)
        name = asked.path.rpartition("/")[2]
        body = state.files.get(name)
        if body is None:
            return 404, b"", {}
        half = state.truncated and name == ARCHIVE
        sent = body[: len(body) // 2] if half else body
        return 200, sent, {"Content-Length": str(len(body))}

    with serving(answer) as page:
        state = ReleaseServer(url=page.url)
        yield state


@dataclass
class Place:
    """A made-up machine: its PATH, its cache, its `go`, and what the finder said."""

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

    def release_at(self, url: str, sha256: Mapping[str, str] | None = None) -> None:
        """Have the project publish its release at a server, here with pinned checksums or none."""
        release = Release(
            base_url=f"{url}/v{{version}}/",
            archive="thing-{version}.{platform}.tar.gz",
            sha256=sha256 or {},
        )
        self.project = replace(self.project, release=release)

    def go(self, build: str = "", version: str = GO_VERSION, toolchain: str = "local") -> None:
        """Install a `go` that logs its builds; by default they succeed."""
        succeed = f"""
            for name in server tool; do
              printf '#!/bin/sh\\n%s\\n' '{prints("3.1.0")} source' > "$out$name"
              chmod +x "$out$name"
            done"""
        stand_in(
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


def test_a_program_on_path_comes_first(place: Place) -> None:
    """A user who has the right major version waits for nothing and downloads nothing."""
    own = stand_in(place.root / "bin" / "tool", prints("3.99.0"))
    stand_in(place.built / "tool", prints("3.1.0"))
    assert place.finder().find("tool") == own
    assert place.said == []


def test_an_old_program_on_path_is_skipped_and_named(place: Place) -> None:
    """Prometheus 2 cannot read these rules: the finder says so and takes the next."""
    old = stand_in(place.root / "old" / "tool", f"{prints('2.45.0')} >&2")
    own = stand_in(place.root / "bin" / "tool", prints("3.0.1"))
    assert place.finder().find("tool") == own
    assert place.said == [f"tool: skipped {old}, which is 2.45.0; wanted is 3.x"]


@pytest.mark.parametrize("text", ["exit 1", f"{prints('3.1.0')}; exit 1", "echo hello"])
def test_a_broken_program_on_path_is_skipped(place: Place, text: str) -> None:
    """A wrapper that fails would fail again in the lab, far from its cause."""
    broken = stand_in(place.root / "bin" / "tool", text)
    cached = stand_in(place.built / "tool", prints("3.1.0"))
    assert place.finder().find("tool") == cached
    assert place.said == [f"tool: skipped {broken}, which prints no version; wanted is 3.x"]


def test_a_cached_program_is_not_fetched_again(place: Place, server: ReleaseServer) -> None:
    """A machine spends the minutes once."""
    cached = stand_in(place.built / "server", prints("3.1.0"))
    place.go()
    assert place.finder().find("server") == cached
    assert (place.builds(), server.requests) == ([], [])


def test_a_release_is_downloaded(place: Place, server: ReleaseServer) -> None:
    """One archive brings all programs of the project, and nothing else of it is unpacked."""
    server.publish(archive(top="thing"))
    place.release_at(server.url)
    place.go()
    assert place.finder().find("tool") == place.built / "tool"
    assert place.finder().find("server") == place.built / "server"
    assert sorted(file.name for file in place.built.iterdir()) == ["server", "tool"]
    assert not list(place.root.rglob("outside"))
    assert server.requests == ["/v3.1.0/sha256sums.txt", f"/v3.1.0/{ARCHIVE}"]
    assert (place.builds(), place.left_behind()) == ([], [place.built.name])


def test_a_pinned_checksum_is_used_instead_of_the_releases_own(
    place: Place, server: ReleaseServer
) -> None:
    """A release that was replaced together with its checksums is refused."""
    server.publish(archive(top="thing"))
    place.release_at(server.url, {PLATFORM: hashlib.sha256(server.files[ARCHIVE]).hexdigest()})
    assert place.finder().find("tool") == place.built / "tool"
    assert server.requests == [f"/v3.1.0/{ARCHIVE}"]
    shutil.rmtree(place.built)
    server.publish(archive(top="replaced"))
    with pytest.raises(NotFoundError, match=r"has sha256 .*, but tools/binaries.py says "):
        place.finder().find("tool")


@pytest.mark.parametrize(
    ("body", "checksum", "error"),
    [
        (archive(top="thing"), "1" * 64, r"has sha256 \w{64}, but sha256sums.txt says 1{64}"),
        (b"no archive", "", "no archive, or a program is missing"),
        (archive(top="thing", names=("server",)), "", "a program is missing"),
    ],
    ids=["wrong checksum", "no archive", "a program is missing"],
)
def test_a_wrong_release_is_refused(
    place: Place, server: ReleaseServer, body: bytes, checksum: str, error: str
) -> None:
    """It is neither run nor kept, and nothing else is tried silently."""
    server.publish(body, checksum=checksum)
    place.release_at(server.url)
    place.go()
    with pytest.raises(NotFoundError, match=error):
        place.finder().find("tool")
    assert (place.builds(), place.left_behind()) == ([], [])


@pytest.mark.parametrize(
    ("missing", "truncated", "news"),
    [
        ("sha256sums.txt", False, "sha256sums.txt: Not Found; building it instead"),
        (ARCHIVE, False, f"{ARCHIVE}: Not Found; building it instead"),
        ("its line", False, f"does not list {ARCHIVE}; building it instead"),
        ("", True, "bytes; building it instead"),
    ],
    ids=["no sha256sums.txt", "no archive", "not listed", "truncated"],
)
def test_a_release_that_does_not_arrive_is_built_instead(
    place: Place, server: ReleaseServer, missing: str, truncated: bool, news: str
) -> None:
    """The network broke, or there is no release for this platform; the source is there."""
    server.publish(archive(top="thing"))
    server.truncated = truncated
    server.files.pop(missing, None)
    if missing == "its line":
        server.files["sha256sums.txt"] = b""
    place.release_at(server.url)
    place.go()
    assert place.finder().find("tool") == place.built / "tool"
    assert len(place.builds()) == 1
    assert any(line.endswith(news) for line in place.said)
    assert place.left_behind() == [place.built.name]


def test_offline_the_download_fails_fast(place: Place) -> None:
    """Without a network nobody waits a minute to learn so."""
    place.release_at("http://127.0.0.1:9")
    place.go("echo 'dial tcp: no route to host'; exit 1")
    started = time.monotonic()
    with pytest.raises(NotFoundError, match="no route to host"):
        place.finder().find("tool")
    print(f"after {time.monotonic() - started:.1f} s")


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


def test_two_processes_at_once_build_once(place: Place) -> None:
    """Two terminals, or xdist's workers, do not compete for the processor with the same work."""
    place.go(
        "sleep 0.5; for n in server tool; do printf '#!/bin/sh\\necho \"version 3.1.0\"\\n' "
        '> "$out$n"; chmod +x "$out$n"; done'
    )
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: place.finder().find("tool"), range(4)))
    assert found == [place.built / "tool"] * 4
    assert len(place.builds()) == 1
    assert any("another process" in line for line in place.said)


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


def test_a_build_that_makes_nothing_fails(place: Place) -> None:
    """`find` returns only programs that run."""
    place.go("true")
    with pytest.raises(NotFoundError, match="does not run"):
        place.finder().find("tool")
    assert place.left_behind() == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_build_leaves_no_compiler_and_no_files(
    place: Place, stop: signal.Signals
) -> None:
    """Ctrl-C, or the time limit of a CI job, frees the machine at once."""
    place.go(f"sleep 60 & echo $! > {place.root}/pid; wait")  # go and a compiler it started
    environment = {
        "PATH": f"{place.root}/go-bin:/usr/bin:/bin",
        "XDG_CACHE_HOME": str(place.root / "xdg"),
        "HOME": str(place.root),
        "https_proxy": "http://127.0.0.1:9",  # no download, on whatever machine this runs
    }
    command = [sys.executable, "-m", "tools.find", "prometheus"]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], env=environment, stderr=subprocess.PIPE, text=True
    ) as set_up:
        until(lambda: (place.root / "pid").exists() and (place.root / "pid").read_text() != "")
        set_up.send_signal(stop)
        _, errors = set_up.communicate(timeout=60)
    assert set_up.returncode == 2
    assert errors.splitlines()[-1] == "interrupted; nothing half-made was left behind"
    compiler = (place.root / "pid").read_text(encoding="utf-8").strip()
    until(lambda: not _runs(compiler))
    assert list((place.root / "xdg" / "proxy-observability").iterdir()) == [
        place.root / "xdg" / "proxy-observability" / ".prometheus.lock"
    ]


def _runs(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # a zombie has ended


def test_the_files_of_a_killed_build_are_removed(place: Place) -> None:
    """`kill -9` during a build must not cost disk space for ever."""
    (place.cache / ".incoming-thing-abc" / "programs").mkdir(parents=True)
    place.go()
    place.finder().find("tool")
    assert place.left_behind() == [place.built.name]


def test_without_go_one_line_says_what_to_do(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data analyst without Go reads two remedies, not a stack trace."""
    monkeypatch.setenv("PATH", str(place.root / "nowhere"))
    with pytest.raises(NotFoundError) as caught:
        place.finder().find("tool")
    assert str(caught.value) == (
        "thing 3.1.0: not on PATH, no download, and no Go to build it; "
        "install Go 1.26.7 or newer, or put thing 3.1.0 on PATH"
    )


@pytest.mark.parametrize(
    ("version", "toolchain", "usable"),
    [
        ("go1.26.7", "local", True),
        ("go1.27rc1", "local", True),
        ("go1.26.6", "local", False),
        ("go1.21.0", "auto", True),  # downloads the newer go
        ("go1.20.14", "auto", False),  # knows nothing of toolchains
    ],
)
def test_an_old_go_is_refused_before_it_builds(
    place: Place, version: str, toolchain: str, usable: bool
) -> None:
    """Go's own message about its age is three lines that name no remedy."""
    place.go(version=version, toolchain=toolchain)
    if usable:
        assert place.finder().find("tool") == place.built / "tool"
    else:
        with pytest.raises(NotFoundError, match=f"is {version}, too old .* install Go 1.26.7"):
            place.finder().find("tool")


def test_a_cache_that_cannot_be_written_is_one_line(place: Place) -> None:
    """A read-only home is one line, not a stack trace."""
    place.cache.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(NotFoundError, match=r"the cache .* can't be used"):
        place.finder().find("tool")


def test_envoy_comes_from_this_environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version in requirements-dev.txt comes before another on PATH."""
    on_path = stand_in(place.root / "bin" / "envoy", prints("1.2.3"))
    monkeypatch.setattr(sys, "executable", str(place.root / "venv" / "python"))
    assert place.finder().find("envoy") == on_path
    beside = stand_in(place.root / "venv" / "envoy", prints("1.40.0"))
    assert place.finder().find("envoy") == beside


def test_a_user_may_name_another_envoy(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENVOY comes first, for a build with other extensions; a wrong one is no silent fallback."""
    monkeypatch.chdir(place.root)
    monkeypatch.setattr(sys, "executable", str(place.root / "venv" / "python"))
    stand_in(place.root / "venv" / "envoy", prints("1.40.0"))
    own = stand_in(place.root / "own" / "envoy-contrib", prints("1.40.0"))
    assert replace(place.finder(), envoy="own/envoy-contrib").find("envoy") == own
    with pytest.raises(NotFoundError, match=r"^ENVOY: 'own/envoy' is no program; name an Envoy's"):
        replace(place.finder(), envoy="own/envoy").find("envoy")


def test_an_unknown_name_lists_the_known(place: Place) -> None:
    """A typing error costs one reading."""
    with pytest.raises(NotFoundError, match="envoy, server, tool"):
        place.finder().find("toll")


def test_the_command_prints_paths_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shell scripts read standard output: progress and errors go to standard error."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(place.root / "xdg"))
    folder = place.root / "xdg" / "proxy-observability" / f"prometheus-3.16.0-{this_platform()}"
    program = stand_in(folder / "promtool", prints("3.16.0"))
    assert main(["promtool"]) == 0
    assert capsys.readouterr().out == f"{program}\n"
    assert main(["promtol"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_a_relative_cache_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The XDG specification says so; else each working folder would get its own cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert user_cache() == Path.home() / ".cache" / "proxy-observability"


def test_two_versions_of_a_project_are_told_apart(place: Place) -> None:
    """The project's name goes before the program's."""
    stand_in(place.built / "server", prints("3.1.0"))
    assert place.finder().find("thing/server") == place.built / "server"
    with pytest.raises(NotFoundError, match="other/server: not a program"):
        place.finder().find("other/server")
