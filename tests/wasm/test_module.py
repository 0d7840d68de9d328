"""The committed module is what its sources build, and cannot stop an Envoy worker."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.programs import run_to_end
from wasm.build import DIGEST, HERE, MAX_BYTES, MODULE, build, digest

HOST_FUNCTIONS = {
    "env.proxy_define_metric",
    "env.proxy_get_buffer_bytes",
    "env.proxy_get_property",
    "env.proxy_get_shared_data",
    "env.proxy_increment_metric",
    "env.proxy_log",
    "env.proxy_record_metric",
    "env.proxy_set_shared_data",
    "env.proxy_set_tick_period_milliseconds",
    "wasi_snapshot_preview1.clock_time_get",
}

# proxy-wasm 0.2.1, without the hooks of HTTP.
HOOKS = {
    *("memory", "proxy_abi_version_0_2_1", "proxy_on_memory_allocate"),
    *("proxy_on_vm_start", "proxy_on_configure", "proxy_on_context_create"),
    *("proxy_on_new_connection", "proxy_on_downstream_data", "proxy_on_upstream_data"),
    *("proxy_on_downstream_connection_close", "proxy_on_tick", "proxy_on_done", "proxy_on_delete"),
}


def text_of(module: Path) -> str:
    """Return a module in WebAssembly's text format."""
    return run_to_end("wasm-dis", module).stdout


@pytest.fixture(scope="module")
def text() -> str:
    return text_of(MODULE)


def test_the_sources_build_the_committed_module(tmp_path: Path) -> None:
    """The bytes that run in every sidecar can be made again, from any folder, by whoever asks."""
    for part in ("parser", "filter"):
        shutil.copytree(HERE / part, tmp_path / "elsewhere" / part)
    built = build(tmp_path / "elsewhere")
    assert digest(built) == DIGEST.read_text(encoding="ascii").split()[0], "run `make wasm`"
    assert digest(MODULE.read_bytes()) == digest(built)


def test_the_module_is_small() -> None:
    assert MODULE.stat().st_size <= MAX_BYTES


def test_it_calls_nothing_else(text: str) -> None:
    """An Envoy without one of its imports would refuse the module."""
    imports = re.findall(r'\(import "([^"]+)" "([^"]+)"', text)
    assert {".".join(pair) for pair in imports} == HOST_FUNCTIONS
    of_the_linker = {"__data_end", "__heap_base"}
    assert set(re.findall(r'\(export "([^"]+)"', text)) - of_the_linker == HOOKS


def test_it_has_no_path_to_a_panic(text: str, tmp_path: Path) -> None:
    """A panic would stop counting on every connection of an Envoy worker."""
    assert "unreachable" not in text
    named = tmp_path / "named.wasm"
    named.write_bytes(build(optimise=False))
    functions = re.findall(r"\(func \$(\S+)", text_of(named))
    assert len(functions) > 20
    assert not [
        name for name in functions if re.search("panic|unwrap|expect|abort|alloc_error", name)
    ]


def test_no_path_of_this_machine_is_in_it() -> None:
    assert not re.search(rb"/(home|root|tmp|usr|build)/", MODULE.read_bytes())
