"""Which pods must restart before an edit takes effect, which restart by themselves; pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic.alias_generators import to_camel

from components.alertmanager.config import alertmanager_config
from components.attribution.bootstrap import BUCKETS
from components.load_generator.plan import generator_plan
from components.mesh.values import charts_of, last_scrape_seconds
from components.namespaces.quota import BACKUP
from dashboards.boards import boards
from deployment import annotations_of
from impact.sizes import SIDECARS, Workload, sizes
from settings.loading import StackFile
from settings.section import Section
from settings.stack import StackSettings

Json = dict[str, Any]

SECRETS = "alertmanagerSecrets"


def bootstrap_changes(before: StackSettings, after: StackSettings) -> Iterator[str]:
    """Yield what a sidecar reads only as it starts, and that the edit changes."""
    if not (before.has_crawlers and after.has_crawlers):
        return
    old, new = _sidecar_values(before), _sidecar_values(after)
    for part, old_value in old.items():
        if old_value != new[part]:
            yield part
    if not before.captures_dns and after.captures_dns:
        yield "DNS capture: until then connections to names count as outside"
    elif before.captures_dns and not after.captures_dns:
        yield "DNS capture"


def _sidecar_values(settings: StackSettings) -> Json:
    annotations = annotations_of(settings)
    found: Json = {
        "the histogram's buckets": annotations.pop(BUCKETS),
        "the statistics that Envoy exports": annotations,
        "the sidecar's resources": None,
        "how long a sidecar outlives its crawler": None,
        "the sidecar's version": None,
        "the revision that injects and configures": settings.istio.revision,
        "which pods are attributed": settings.crawlers.selector,
    }
    if settings.istio.install:
        values = next(one.values for one in charts_of(settings) if one.name == "istiod")
        found |= {
            "the sidecar's resources": values["global"]["proxy"]["resources"],
            "how long a sidecar outlives its crawler": last_scrape_seconds(settings),
            "the sidecar's version": settings.istio.version,
        }
    return found


def own_restarts(before: StackSettings, after: StackSettings) -> Iterator[str]:
    """Yield the pods of this program that `pulumi up` starts, ends or replaces, and why."""
    old, new = sizes(before).workloads, sizes(after).workloads
    for name in dict.fromkeys((*old, *new)):
        one, other = old.get(name), new.get(name)
        if one is None or other is None:
            yield f"{name} comes" if one is None else f"{name} goes{_left_by(name)}"
        elif name not in (SIDECARS, BACKUP) and _asks(one) != _asks(other):
            yield f"{name} restarts by itself: resources or image"
    if _places(before) != _places(after):
        yield "all pods of this program restart by themselves: where they run, or from which images"
    agents = [_cni_version(settings) for settings in (before, after)]
    if None not in agents and agents[0] != agents[1]:
        yield "istio-cni restarts by itself on every node: its version"
    both = old.keys() & new.keys()
    configs = [alertmanager_config(settings.alertmanager) for settings in (before, after)]
    if "Alertmanager" in both and configs[0] != configs[1]:
        yield "Alertmanager restarts by itself: its configuration"
    if "Grafana" in both and boards(before) != boards(after):
        yield "Grafana restarts by itself: its boards"
    if "load generator" in both:
        plans = [
            (generator_plan(settings).files.data, annotations_of(settings))
            for settings in (before, after)
        ]
        if plans[0] != plans[1]:
            yield "the load generator restarts by itself: its plan, or its sidecar's statistics"


def _left_by(name: str) -> str:
    if not name.startswith("istiod"):
        return ""
    return ": sidecars that it injected get no change any more; restart their pods before"


def _cni_version(settings: StackSettings) -> str | None:
    istio = settings.istio
    return istio.newest_version if settings.has_crawlers and istio.install and istio.cni else None


def _places(settings: StackSettings) -> tuple[object, ...]:
    """Return what components/placement.py gives to every pod."""
    pods = settings.scheduling.model_copy(update={"storage_class": None})
    return pods, settings.images, settings.istio.on_openshift


def _asks(workload: Workload) -> tuple[float, int, str]:
    return workload.cores, workload.memory, workload.image


def secrets_touched(before: StackFile, after: StackFile) -> tuple[str, ...]:
    """Return the names of credentials and Secrets that come, go or change; never a value."""
    return tuple(sorted({*_credentials(before, after), *_references(before, after)}))


def _credentials(before: StackFile, after: StackFile) -> Iterator[str]:
    """Compare what is encrypted, which is another text whenever it is set again."""
    old, new = _encrypted(before), _encrypted(after)
    for name in old.keys() | new.keys():
        if old.get(name) != new.get(name):
            what = "new" if name not in old else "gone" if name not in new else "set again"
            yield f"{SECRETS}.{name}: {what}"


def _encrypted(file: StackFile) -> Json:
    found = next((text for name, text in file.config.items() if name.endswith(f":{SECRETS}")), "{}")
    loaded = json.loads(found)
    return loaded if isinstance(loaded, dict) else {}


def _references(before: StackFile, after: StackFile) -> Iterator[str]:
    old, new = (dict(_named(file.settings, "")) for file in (before, after))
    for path in old.keys() | new.keys():
        if old.get(path) != new.get(path):
            yield f"Secret {new.get(path) or old[path]} ({path})"


def _named(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the Secrets that settings name, by the key that names them."""
    if isinstance(value, Section | dict):
        for key, item in value.items() if isinstance(value, dict) else value:
            alias = to_camel(str(key)) if isinstance(value, Section) else str(key)
            at = f"{path}.{alias}" if path else alias
            if alias.endswith("Secret") and item:
                yield at, str(getattr(item, "name", item))
            elif alias != SECRETS:
                yield from _named(item, at)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _named(item, f"{path}[{index}]")
