"""The pods of simulated vendors, and who may connect to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking

from components.labels import labels, selector
from components.pods import (
    NOBODY,
    container,
    http_probes,
    pod_template,
    secret_variable,
)
from components.prometheus.config import SIMULATED_VENDOR_APP, SIMULATED_VENDOR_PORT
from components.simulated_vendors.plan import CUSTOMER, PASSWORD_VARIABLE, PROXY_PORT
from settings.simulated_vendors import SimulatedVendors

INSTANCE = "app.kubernetes.io/instance"
PROGRAM_FOLDER = "/program"
PLAN = "plan.json"
STARTUP_SECONDS = 60


def vendor_spec(
    simulated: SimulatedVendors,
    vendor: str,
    files: Sequence[tuple[core.ConfigMap, Mapping[str, str]]],
    customers: core.Secret | None,
) -> apps.DeploymentSpecArgs:
    """Return a vendor's Deployment.

    Args:
        files: ConfigMaps for the pod's working directory, and the path of each key.
        customers: holds the password that the vendor asks for, if it asks for one.
    """
    return apps.DeploymentSpecArgs(
        replicas=1,
        # Two pods behind one address would each have half the limits and count half the requests.
        strategy=apps.DeploymentStrategyArgs(type="Recreate"),
        selector=meta.LabelSelectorArgs(
            match_labels={**selector(SIMULATED_VENDOR_APP), INSTANCE: vendor}
        ),
        template=pod_template(
            user=NOBODY,
            labels={**labels(SIMULATED_VENDOR_APP), INSTANCE: vendor},
            container=_container(simulated, customers),
            volumes=[
                core.VolumeArgs(
                    name="program",
                    projected=core.ProjectedVolumeSourceArgs(
                        sources=[_projection(config_map, items) for config_map, items in files]
                    ),
                )
            ],
            enable_service_links=False,
        ),
    )


def _container(simulated: SimulatedVendors, customers: core.Secret | None) -> core.ContainerArgs:
    login = (
        [secret_variable(PASSWORD_VARIABLE, customers.metadata.name, CUSTOMER)] if customers else []
    )
    return container(
        "vendor",
        simulated.resources,
        {"program": PROGRAM_FOLDER},
        {"proxy": PROXY_PORT, "control": SIMULATED_VENDOR_PORT},
        image=simulated.image,
        command=["python", "-m", "simulation.proxy", "--plan", PLAN],
        working_dir=PROGRAM_FOLDER,
        env=[core.EnvVarArgs(name="PYTHONUNBUFFERED", value="1"), *login],
        **http_probes("/healthz", "control", startup_seconds=STARTUP_SECONDS),
    )


def _projection(config_map: core.ConfigMap, items: Mapping[str, str]) -> core.VolumeProjectionArgs:
    return core.VolumeProjectionArgs(
        config_map=core.ConfigMapProjectionArgs(
            name=config_map.metadata.name,
            items=[core.KeyToPathArgs(key=key, path=path) for key, path in items.items()],
        )
    )


def policy_spec(
    crawler_namespaces: Sequence[str], prometheus: str
) -> networking.NetworkPolicySpecArgs:
    """Let crawlers reach the proxy and Prometheus the metrics; the pods call nobody."""
    return networking.NetworkPolicySpecArgs(
        pod_selector=meta.LabelSelectorArgs(match_labels=selector(SIMULATED_VENDOR_APP)),
        policy_types=["Ingress", "Egress"],
        ingress=[
            _allow(crawler_namespaces, PROXY_PORT),
            _allow([prometheus], SIMULATED_VENDOR_PORT),
        ],
    )


def _allow(namespaces: Sequence[str], port: int) -> networking.NetworkPolicyIngressRuleArgs:
    """Let the pods of these namespaces connect to one port."""
    named = meta.LabelSelectorRequirementArgs(
        # Kubernetes itself puts this label on every namespace.
        key="kubernetes.io/metadata.name",
        operator="In",
        values=list(namespaces),
    )
    return networking.NetworkPolicyIngressRuleArgs(
        from_=[
            networking.NetworkPolicyPeerArgs(
                namespace_selector=meta.LabelSelectorArgs(match_expressions=[named])
            )
        ],
        ports=[networking.NetworkPolicyPortArgs(protocol="TCP", port=port)],
    )
