"""VendorAttribution: a namespace's crawlers get their vendor named."""

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
    """What to attribute, and for whom.

    `filters` are the EnvoyFilters' specs by name, as `render.envoy_filters` returns them for this
    `selector` (empty: every pod of `namespace`); `egress_hosts` are the services of other
    namespaces that stay known to them; `labels` go on each object.
    """

    namespace: pulumi.Input[str]
    filters: Mapping[str, dict[str, Any]]
    egress_hosts: tuple[str, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


class VendorAttribution(pulumi.ComponentResource):
    """Labels the outbound connections of a namespace with their proxy vendor.

    Fails open: if an Istio upgrade stops a patch from matching, crawlers keep working and only
    the labels go.
    """

    filter_names: pulumi.Output[list[str]]
    """Names of the EnvoyFilters in `namespace`."""

    def __init__(
        self, name: str, args: VendorAttributionArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:attribution:VendorAttribution", name, None, opts)
        # A child waits for what its component waits for, but only what it names itself is in the
        # state, where a destroy finds its order.
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
        # Clusters first, and last when all is destroyed: a chain never stands without its own.
        for filter_name in sorted(args.filters, key=lambda one: len(before[one])):
            made[filter_name] = CustomResource(
                f"{name}-{filter_name}",
                api_version="networking.istio.io/v1alpha3",
                kind="EnvoyFilter",
                # Fixed: runbooks name it. istiod merges by priority and age: nothing may depend on
                # an order between objects.
                metadata=ObjectMetaArgs(
                    name=filter_name, namespace=args.namespace, labels=dict(args.labels)
                ),
                spec=args.filters[filter_name],
                opts=pulumi.ResourceOptions.merge(
                    child,
                    pulumi.ResourceOptions(depends_on=[made[one] for one in before[filter_name]]),
                ),
            )
        self.filter_names = pulumi.Output.from_input(list(args.filters))
        self.register_outputs({"filter_names": self.filter_names})
