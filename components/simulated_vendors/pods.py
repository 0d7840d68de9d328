"""The pods of simulated vendors, and who may connect to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pulumi_kubernetes.apps.v1 import DeploymentSpecArgs, DeploymentStrategyArgs
from pulumi_kubernetes.core.v1 import (
    ConfigMap,
    ConfigMapProjectionArgs,
    ContainerArgs,
    ContainerPortArgs,
    EnvVarArgs,
    HTTPGetActionArgs,
    KeyToPathArgs,
    ProbeArgs,
    ProjectedVolumeSourceArgs,
    Secret,
    VolumeArgs,
    VolumeProjectionArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, LabelSelectorRequirementArgs
from pulumi_kubernetes.networking.v1 import (
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicyPortArgs,
    NetworkPolicySpecArgs,
)

from components.labels import labels, selector
from components.pods import (
    NOBODY,
    container_resources,
    container_security,
    mounts,
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
    files: Sequence[tuple[ConfigMap, Mapping[str, str]]],
    customers: Secret | None,
) -> DeploymentSpecArgs:
    """Return a vendor's Deployment.

    Args:
        files: ConfigMaps for the pod's working directory, and the path of each key.
        customers: holds the password that the vendor asks for, if it asks for one.
    """
    return DeploymentSpecArgs(
        replicas=1,
        # Two pods behind one address would each have half the limits and count half the requests.
        strategy=DeploymentStrategyArgs(type="Recreate"),
        selector=LabelSelectorArgs(
            match_labels={**selector(SIMULATED_VENDOR_APP), INSTANCE: vendor}
        ),
        template=pod_template(
            user=NOBODY,
            labels={**labels(SIMULATED_VENDOR_APP), INSTANCE: vendor},
            container=_container(simulated, customers),
            volumes=[
                VolumeArgs(
                    name="program",
                    projected=ProjectedVolumeSourceArgs(
                        sources=[_projection(config_map, items) for config_map, items in files]
                    ),
                )
            ],
            enable_service_links=False,
        ),
    )


def _container(simulated: SimulatedVendors, customers: Secret | None) -> ContainerArgs:
    healthy = HTTPGetActionArgs(path="/healthz", port="control")
    login = (
        [secret_variable(PASSWORD_VARIABLE, customers.metadata.name, CUSTOMER)] if customers else []
    )
    return ContainerArgs(
        name="vendor",
        image=simulated.image,
        command=["python", "-m", "simulation.proxy", "--plan", PLAN],
        working_dir=PROGRAM_FOLDER,
        env=[EnvVarArgs(name="PYTHONUNBUFFERED", value="1"), *login],
        ports=[
            ContainerPortArgs(name="proxy", container_port=PROXY_PORT),
            ContainerPortArgs(name="control", container_port=SIMULATED_VENDOR_PORT),
        ],
        startup_probe=ProbeArgs(
            http_get=healthy, period_seconds=2, failure_threshold=STARTUP_SECONDS // 2
        ),
        readiness_probe=ProbeArgs(http_get=healthy, period_seconds=5, timeout_seconds=3),
        liveness_probe=ProbeArgs(http_get=healthy, period_seconds=20, timeout_seconds=10),
        resources=container_resources(simulated.resources),
        security_context=container_security(),
        volume_mounts=mounts({"program": PROGRAM_FOLDER}),
    )


def _projection(config_map: ConfigMap, items: Mapping[str, str]) -> VolumeProjectionArgs:
    return VolumeProjectionArgs(
        config_map=ConfigMapProjectionArgs(
            name=config_map.metadata.name,
            items=[KeyToPathArgs(key=key, path=path) for key, path in items.items()],
        )
    )


def policy_spec(crawler_namespaces: Sequence[str], prometheus: str) -> NetworkPolicySpecArgs:
    """Let crawlers reach the proxy and Prometheus the metrics; the pods call nobody."""
    return NetworkPolicySpecArgs(
        pod_selector=LabelSelectorArgs(match_labels=selector(SIMULATED_VENDOR_APP)),
        policy_types=["Ingress", "Egress"],
        ingress=[
            _allow(crawler_namespaces, PROXY_PORT),
            _allow([prometheus], SIMULATED_VENDOR_PORT),
        ],
    )


def _allow(namespaces: Sequence[str], port: int) -> NetworkPolicyIngressRuleArgs:
    """Let the pods of these namespaces connect to one port."""
    named = LabelSelectorRequirementArgs(
        # Kubernetes itself puts this label on every namespace.
        key="kubernetes.io/metadata.name",
        operator="In",
        values=list(namespaces),
    )
    return NetworkPolicyIngressRuleArgs(
        from_=[
            NetworkPolicyPeerArgs(namespace_selector=LabelSelectorArgs(match_expressions=[named]))
        ],
        ports=[NetworkPolicyPortArgs(protocol="TCP", port=port)],
    )
