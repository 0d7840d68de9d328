"""VendorAttribution: the EnvoyFilters and the Sidecar resource of one crawlers' namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.attribution.order import filters_before
from components.attribution.render import sidecar_spec


@dataclass(frozen=True, kw_only=True)
class VendorAttributionArgs:
    """What is deployed to a namespace.

    `filters` are the EnvoyFilters' specs by name, as `render.envoy_filters` returns them for this
    `selector` (empty: every pod of `namespace`). `egress_hosts` are the services of other
    namespaces that the crawlers' sidecars keep. `labels` are put on each object.
    """

    namespace: pulumi.Input[str]
    filters: Mapping[str, dict[str, Any]]
    egress_hosts: tuple[str, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


class VendorAttribution(pulumi.ComponentResource):
    """Labels the outbound connections of a namespace with their proxy vendor.

    It fails open: if an Istio upgrade stops a patch from matching, crawlers keep working and only
    the labels are lost.
    """

    filter_names: pulumi.Output[list[str]]
    """Names of the EnvoyFilters in `namespace`."""

    def __init__(
        self, name: str, args: VendorAttributionArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:attribution:VendorAttribution", name, None, opts)
        # Without depends_on a child still waits at `up`, as its component does. But a destroy takes
        # its order from the state, which holds the child's own dependencies alone.
        child = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)

        CustomResource(
            f"{name}-sidecar",
            api_version="networking.istio.io/v1",
            kind="Sidecar",
            metadata=ObjectMetaArgs(
                name="proxy-observability", namespace=args.namespace, labels=dict(args.labels)
            ),
            spec=sidecar_spec(args.egress_hosts, args.selector),
            opts=child,
        )
        before = filters_before(args.filters)
        made: dict[str, CustomResource] = {}
        # EnvoyFilters with clusters come first and are destroyed last: a chain without its cluster
        # answers 503.
        for filter_name in sorted(args.filters, key=lambda key: len(before[key])):
            needed = [made[other] for other in before[filter_name]]
            made[filter_name] = CustomResource(
                f"{name}-{filter_name}",
                api_version="networking.istio.io/v1alpha3",
                kind="EnvoyFilter",
                # A fixed name, because runbooks use it. istiod merges EnvoyFilters by priority and
                # age, so nothing may depend on their order.
                metadata=ObjectMetaArgs(
                    name=filter_name, namespace=args.namespace, labels=dict(args.labels)
                ),
                spec=args.filters[filter_name],
                opts=pulumi.ResourceOptions.merge(
                    child,
                    pulumi.ResourceOptions(depends_on=needed),
                ),
            )
        self.filter_names = pulumi.Output.from_input(list(args.filters))
        self.register_outputs({"filter_names": self.filter_names})
