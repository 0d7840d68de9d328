"""Serve the boards on loopback: pages, the boards' models, and the answers to their own queries.

A page names a board, a panel and values; the query itself is the board's. So nobody who reaches
the port can ask Prometheus anything else.
"""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from lab.pages import QuietServer
from lab.viewer.questions import NotFoundError, PrometheusError, Questions

Json = dict[str, Any]

_FOLDER = Path(__file__).parent
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
# uPlot sets styles by script, which the policy allows; a style in the page's text would be refused.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@contextmanager
def serving(questions: Questions, port: int = 0) -> Iterator[str]:
    """Serve boards on a port of 127.0.0.1, 0 for any, until the block ends; give the address."""
    with QuietServer(("127.0.0.1", port), _handler(questions)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def _files() -> dict[str, Path]:
    found = [*(_FOLDER / "pages").iterdir(), *(_FOLDER / "vendored").iterdir()]
    return {file.name: file for file in found if file.suffix in _TYPES}


def _handler(questions: Questions) -> type[BaseHTTPRequestHandler]:
    files = _files()
    first = next(iter(questions.boards), "")

    def listing() -> list[Json]:
        return [
            {key: model.get(key) for key in ("uid", "title", "description", "tags")}
            for model in questions.boards.values()
        ]

    def answer(path: list[str], asked: dict[str, list[str]]) -> Any:
        match path:
            case ["boards"]:
                return listing()
            case ["boards", uid]:
                return questions.board(uid)
            case ["boards", uid, "panels", number]:
                return questions.panel(uid, number, asked)
            case ["boards", uid, "variables", name]:
                return questions.variable(uid, name, asked)
            case ["boards", uid, "annotations"]:
                return questions.annotations(uid, asked)
        raise NotFoundError("there is no such page")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            parts = [urllib.parse.unquote(part) for part in url.path.split("/") if part]
            if not self._is_own_host():
                self._say(421, "text/plain", b"open the printed address\n")
            elif not parts:
                self._say(302, "text/plain", b"", Location=f"/d/{first}")
            elif parts[0] == "d":
                self._say(200, _TYPES[".html"], files["index.html"].read_bytes())
            elif parts[0] == "static" and len(parts) == 2 and parts[1] in files:
                file = files[parts[1]]
                self._say(200, _TYPES[file.suffix], file.read_bytes())
            elif parts[0] == "api":
                asked = urllib.parse.parse_qs(url.query)
                self._say_json(lambda: answer(parts[1:], asked))
            else:
                self._say(404, "text/plain", b"there is no such page\n")

        def _is_own_host(self) -> bool:
            """Refuse a name that a foreign site made lead to loopback (DNS rebinding)."""
            port = self.request.getsockname()[1]
            return self.headers.get("Host") in (f"127.0.0.1:{port}", f"localhost:{port}")

        def _say_json(self, content: Callable[[], Any]) -> None:
            try:
                status, said = 200, content()
            except NotFoundError as error:
                status, said = 404, {"error": str(error)}
            except ValueError as error:
                status, said = 400, {"error": str(error)}
            except PrometheusError as error:
                status, said = 502, {"error": str(error)}
            self._say(status, "application/json", json.dumps(said).encode())

        def _say(self, status: int, kind: str, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {**_HEADERS, "Content-Type": kind, **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing: a page asks every few seconds."""

    return Handler
