"""VendorAttribution: a namespace's crawlers get their vendor named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.attribution.render import envoy_filters, sidecar_spec
from settings.model import Vendor


@dataclass(frozen=True, kw_only=True)
class VendorAttributionArgs:
    """What to attribute, and for whom.

    `selector` empty means every pod of `namespace`; `egress_hosts` are the services of other
    namespaces that stay known to them; `labels` go on each object.
    """

    namespace: pulumi.Input[str]
    vendors: tuple[Vendor, ...]
    patience_seconds: int
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
        filters = envoy_filters(
            args.vendors, patience_seconds=args.patience_seconds, selector=args.selector
        )
        for filter_name, spec in filters.items():
            CustomResource(
                f"{name}-{filter_name}",
                api_version="networking.istio.io/v1alpha3",
                kind="EnvoyFilter",
                # Fixed: runbooks name it, and istiod merges patches in the order of names.
                metadata=ObjectMetaArgs(
                    name=filter_name, namespace=args.namespace, labels=dict(args.labels)
                ),
                spec=spec,
                opts=child,
            )
        self.filter_names = pulumi.Output.from_input(list(filters))
        self.register_outputs({"filter_names": self.filter_names})
