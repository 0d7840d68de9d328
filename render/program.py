"""Run the real `__main__.py` under Pulumi's mocks and record what it registers."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import json
import os
import runpy
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pulumi
from google.protobuf import json_format  # type: ignore[import-untyped]
from pulumi.runtime import mocks, rpc
from pulumi.runtime.settings import SETTINGS, _get_rpc_manager, set_root_resource
from pulumi.runtime.stack import run_in_stack

from deployment import StackPlan
from settings.loading import PROJECT, ROOT, SettingsError, StackFile, load_stack, stack_file
from settings.stack import StackSettings

REDACTED = "REDACTED"
STACK_TYPE = "pulumi:pulumi:Stack"
MOCK_CLUSTER = "mock-uid"
MOCK_PASSWORD = "mock-password"  # nowhere in what is recorded, unless a secret leaks


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One registration, as the engine gets it; secret text reads REDACTED."""

    urn: str
    type: str
    name: str
    parent: str
    """URN, empty for the stack itself."""
    inputs: dict[str, Any]
    custom: bool
    protect: bool
    retained: bool
    """Whether it stays in the cluster when the program no longer has it."""
    provider: str
    """URN and id of the provider instance, empty for a component."""
    dependencies: frozenset[str]
    """URNs of everything that must exist before: explicit, or through an input."""
    secrets: frozenset[str]
    """Top-level inputs that hold a secret."""
    ignored: frozenset[str]
    """Paths of inputs whose changes are not deployed."""
    update_timeout: str
    """Empty for the provider's own."""
    secret_texts: Mapping[str, str]
    """What a Secret's keys hold, with a mark like `${mock-password NAME}` for each password that
    Pulumi generates; empty for anything else."""

    @property
    def kind(self) -> str:
        return kind_of(self.type, self.inputs)

    @property
    def namespace(self) -> str:
        return str(self.inputs.get("metadata", {}).get("namespace", ""))


def kind_of(pulumi_type: str, inputs: Mapping[str, Any]) -> str:
    """Return a resource's Kubernetes kind, empty for anything else.

    A patch has its resource's, NamespacePatch, where `inputs` say what it patches.
    """
    return pulumi_type.rpartition(":")[2] if "kind" in inputs else ""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of the program registered, in order of URN."""

    stack: str
    settings: StackSettings
    plan: StackPlan
    resources: tuple[Resource, ...]
    outputs: dict[str, Any] = field(default_factory=dict)
    stacks: frozenset[str] = frozenset()
    """Other stacks whose outputs it read."""

    def of_kind(self, kind: str) -> tuple[Resource, ...]:
        return tuple(resource for resource in self.resources if resource.kind == kind)

    def of_type(self, type_: str) -> tuple[Resource, ...]:
        return tuple(resource for resource in self.resources if resource.type == type_)

    def only(self, kind: str, name: str | None = None) -> dict[str, Any]:
        """Return the inputs of the one object of a kind, or of that kind and name."""
        found = [
            resource.inputs
            for resource in self.of_kind(kind)
            if name in (None, resource.inputs["metadata"]["name"])
        ]
        if len(found) != 1:
            raise LookupError(f"{len(found)} objects of kind {kind}, name {name}")
        return found[0]


def run_program(stack: str, path: Path | None = None) -> Run:
    """Run the program for a stack.

    Args:
        path: the stack's file; None is STACK_FILE of the environment, else the root's.

    Raises:
        SettingsError: the stack file says something that can't be, or there is none.
    """
    # Its findings name lines of the file, which the engine does not pass on.
    file = load_stack(path or stack_file(stack))
    recorder = _Recorder()
    # Pulumi keeps its state in context variables: a copy, so that no run sees another's.
    try:
        contextvars.copy_context().run(_run, stack, file, recorder)
    except pulumi.RunError as error:
        raise SettingsError(str(error).splitlines()) from None
    return Run(
        stack=stack,
        settings=file.settings,
        plan=recorder.program["plan"],
        resources=tuple(sorted(recorder.recorded, key=lambda resource: resource.urn)),
        outputs=recorder.outputs,
        stacks=frozenset(recorder.provider.stacks),
    )


def _run(stack: str, file: StackFile, recorder: _Recorder) -> None:
    # Futures belong to the current loop, and one that another run left is closed.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # As the engine passes the configuration, except that values stay encrypted.
    variables = {
        # Nothing is deployed: without a context the program would warn that it uses any.
        "PULUMI_CONFIG": json.dumps({"kubernetes:context": "none", **file.config}),
        "PULUMI_CONFIG_SECRET_KEYS": json.dumps(file.encrypted),
    }
    os.environ |= variables
    try:
        mocks.set_mocks(
            recorder.mocks, project=PROJECT, stack=stack, preview=False, monitor=recorder
        )
        set_root_resource(None)  # type: ignore[arg-type]  # that stack takes no more outputs
        loop.run_until_complete(run_in_stack(lambda: recorder.program.update(_program())))
    finally:
        for variable in variables:
            del os.environ[variable]
        # A run that failed half-way leaves calls that wait for the loop closed here.
        _get_rpc_manager().clear()
        SETTINGS.outputs.clear()
        asyncio.set_event_loop(None)
        for used in (loop, *recorder.loops):
            used.close()


def _program() -> dict[str, Any]:
    """Return the program's own names, once it has run."""
    return runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")


class _Provider(mocks.Mocks):
    """Stands in for the plugins: names what has no name, and makes passwords."""

    kept: ClassVar[dict[str, str]] = {}
    """What an earlier `up` stashed, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.stacks: set[str] = set()
        """Other stacks whose outputs the program reads."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        state = dict(args.inputs)
        if args.typ == "random:index/randomPassword:RandomPassword":
            state["result"] = pulumi.Output.secret(_mark(args.name))
            state["bcryptHash"] = pulumi.Output.secret(_mark(f"bcrypt of {args.name}"))
        if args.typ == "pulumi:index:Stash":
            state["output"] = self.kept.get(args.name, args.inputs["input"])
        if args.resource_id == "kube-system":
            return args.resource_id, {"metadata": {"name": "kube-system", "uid": MOCK_CLUSTER}}
        if args.typ == "pulumi:pulumi:StackReference":
            self.stacks.add(args.inputs["name"])
            password = _mark(f"prometheusPassword of {args.inputs['name']}")
            state["outputs"] = {"prometheusPassword": password}
            state["secretOutputNames"] = ["prometheusPassword"]
        if "metadata" in state:
            state["metadata"] = {**state["metadata"], "name": _object_name(args.name, state)}
        return f"{args.name}-id", state

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        raise NotImplementedError(f"the program calls {args.token}: answer it here")


def _mark(password: str) -> str:
    return f"${{{MOCK_PASSWORD} {password}}}"


def _object_name(name: str, inputs: Mapping[str, Any]) -> str:
    """Return a Kubernetes object's name: its own, or Pulumi's with the content in place of chance.

    So the same stack renders the same bytes, and a changed ConfigMap shows as a new one.
    """
    given = inputs["metadata"].get("name")
    if given:
        return str(given)
    content = json.dumps(_plain(inputs), sort_keys=True).encode()
    return f"{name}-{hashlib.sha256(content).hexdigest()[:8]}"


class _Recorder(mocks.MockMonitor):
    """The engine's end of the wire. Pulumi's own mock forgets parents, order and duplicates."""

    def __init__(self) -> None:
        self.provider = _Provider()
        super().__init__(self.provider)
        self.recorded: list[Resource] = []
        self.outputs: dict[str, Any] = {}
        self.program: dict[str, Any] = {}
        """Its names and what they stand for."""
        self.loops: list[asyncio.AbstractEventLoop] = []
        self._thread = threading.local()

    def _give_thread_a_loop(self) -> None:
        """Before Pulumi's mock does: it leaves its loops open, and one that is collected after its
        own sockets ends a good run with a traceback.
        """
        if not hasattr(self._thread, "loop"):
            self._thread.loop = asyncio.new_event_loop()
            self.loops.append(self._thread.loop)
            asyncio.set_event_loop(self._thread.loop)

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        kinds = parent.split("::")[2] if parent else ""
        qualified = f"{kinds}${type_}" if kinds and kinds != STACK_TYPE else type_
        return f"urn:pulumi:{pulumi.get_stack()}::{pulumi.get_project()}::{qualified}::{name}"

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 (Pulumi's name)
        self._give_thread_a_loop()
        answer: Any = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type == STACK_TYPE:
            return answer
        inputs = _message(request.object)
        plain = _plain(inputs)
        if "metadata" in plain:
            plain["metadata"]["name"] = answer.object["metadata"]["name"]
        self.recorded.append(
            Resource(
                urn=answer.urn,
                type=request.type,
                name=request.name,
                parent=request.parent,
                inputs=plain,
                custom=request.custom,
                protect=request.protect,
                retained=request.retainOnDelete,
                provider=request.provider,
                dependencies=frozenset(request.dependencies),
                secrets=frozenset(key for key, value in inputs.items() if _is_secret(value)),
                ignored=frozenset(request.ignoreChanges),
                update_timeout=request.customTimeouts.update,
                secret_texts=_revealed(inputs.get("stringData", {})),
            )
        )
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 (Pulumi's name)
        if f"::{STACK_TYPE}::" in request.urn:
            self.outputs |= _plain(_message(request.outputs))
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


def _message(struct: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json_format.MessageToDict(struct)
    return fields


def _is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get(rpc._special_sig_key) == rpc._special_secret_sig


def _revealed(value: Any) -> Any:
    """Return what is secret as it is. Under these mocks nothing is: passwords are marks, and the
    stack's own credentials stay encrypted."""
    if _is_secret(value):
        return _revealed(value["value"])
    if isinstance(value, dict):
        return {key: _revealed(item) for key, item in value.items()}
    return value


def _plain(value: Any, *, redact: bool = False) -> Any:
    """Return a value without protobuf's floats and Pulumi's marks; a secret's text is REDACTED.

    The keys of a secret mapping stay: one secret makes its whole property secret.
    """
    if _is_secret(value):
        return _plain(value["value"], redact=True)
    if isinstance(value, dict):
        return {key: _plain(item, redact=redact) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, redact=redact) for item in value]
    if redact:
        return REDACTED
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
