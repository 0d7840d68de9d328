"""A real API server with etcd, and the calls of it that the tests need."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.processes import Children
from tests import api_server
from tests.mesh.networks import GATEWAY, Network

Json = dict[str, Any]

PORT = 6443
TOKEN = "mesh"
FIELD_MANAGER = "mesh-tests"


class ApiError(Exception):
    """The API server refused a call; the text is the server's."""


class Api:
    """Calls of the API server; each opens a connection."""

    def __init__(self, world: Network) -> None:
        self._world = world
        self._paths: dict[tuple[str, str], tuple[str, bool]] = {}
        # The server signs its own certificate. One context for all calls: a default one would read
        # the machine's authorities each time, most of a call's cost.
        self._unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._unverified.check_hostname = False
        self._unverified.verify_mode = ssl.CERT_NONE
        self.warnings: list[str] = []
        """Warnings that came with the answers, from the server or a webhook."""

    def is_ready(self) -> bool:
        try:
            return bool(self.call("GET", "/readyz")["text"] == "ok")
        except (OSError, ApiError):
            return False

    def call(self, method: str, path: str, body: Any = None, content: str = "json") -> Json:
        connection = http.client.HTTPConnection(GATEWAY, PORT)
        plain = self._world.connect(GATEWAY, PORT, timeout=120)
        with self._unverified.wrap_socket(plain) as connection.sock:
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": f"application/{content}"}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        self.warnings += answer.headers.get_all("Warning", [])
        if answer.status >= 300:
            message = json.loads(text).get("message", text) if text[:1] == "{" else text
            raise ApiError(f"{method} {path}: {answer.status}: {message}")
        return json.loads(text) if text[:1] == "{" else {"text": text}

    def path(self, api_version: str, kind: str, namespace: str | None, name: str = "") -> str:
        """Return the path of a kind's objects, or of one of them."""
        root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        if (api_version, kind) not in self._paths:
            for resource in self.call("GET", root)["resources"]:
                if "/" not in resource["name"]:
                    key = (api_version, resource["kind"])
                    self._paths[key] = (resource["name"], resource["namespaced"])
        plural, namespaced = self._paths[api_version, kind]
        middle = f"/namespaces/{namespace}" if namespaced else ""
        return f"{root}{middle}/{plural}" + (f"/{name}" if name else "")

    def path_of(self, manifest: Json) -> str:
        metadata = manifest["metadata"]
        kind = (manifest["apiVersion"], manifest["kind"])
        return self.path(*kind, metadata.get("namespace"), metadata["name"])

    def apply(self, manifest: Json, *, dry_run: bool = False) -> Json:
        """Apply on the server's side, as Pulumi's provider does; webhooks are called."""
        query = f"?fieldManager={FIELD_MANAGER}&force=true" + ("&dryRun=All" if dry_run else "")
        return self.call("PATCH", self.path_of(manifest) + query, manifest, "apply-patch+yaml")

    def create(self, manifest: Json) -> Json:
        return self.call("POST", self.path_of(manifest).rpartition("/")[0], manifest)

    def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> Json:
        return self.call("GET", self.path(api_version, kind, namespace, name))

    def delete(self, api_version: str, kind: str, namespace: str | None, name: str) -> None:
        self.call("DELETE", self.path(api_version, kind, namespace, name) + "?gracePeriodSeconds=0")

    def list(self, api_version: str, kind: str, namespace: str | None = None) -> list[Json]:
        found = self.call("GET", self.path(api_version, kind, namespace))
        return [dict(each) for each in found["items"]]

    def set_status(self, manifest: Json, status: Mapping[str, Any]) -> Json:
        path = f"{self.path_of(manifest)}/status"
        return self.call("PATCH", path, {"status": status}, "merge-patch+json")

    def token(self, namespace: str, account: str, audience: str) -> str:
        path = f"{self.path('v1', 'ServiceAccount', namespace, account)}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": 3600},
        }
        return str(self.call("POST", path, body)["status"]["token"])


def start(family: Children, world: Network, folder: Path) -> None:
    """Start etcd and the API server, which answers some seconds later; write a kubeconfig."""
    # Call webhooks at their endpoints: nothing serves cluster addresses here.
    flags = ["--enable-aggregator-routing=true"]
    api_server.start(family, folder, TOKEN, (GATEWAY, PORT), enter=world.command, flags=flags)
