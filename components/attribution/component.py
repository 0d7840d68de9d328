"""VendorAttribution: the EnvoyFilters that name the proxy vendor of the crawlers' connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta import v1 as meta

from components.attribution.bootstrap import PROXY_CONFIG
from components.attribution.envoy import Json
from components.attribution.order import filters_before
from components.base import child_options
from components.labels import labels

APP = "vendor-attribution"


@dataclass(frozen=True, kw_only=True)
class VendorAttributionArgs:
    """What istiod adds to the sidecars of crawlers."""

    namespaces: Mapping[str, pulumi.Input[str]]
    """The crawlers' namespaces, by name. Each gets all filters."""
    filters: Mapping[str, Json]
    """Specs of the EnvoyFilters by name, from `render.envoy_filters`."""
    sidecar: Json | None
    """Spec of the Sidecar; None for none."""
    service_entries: Mapping[str, Json]
    """Specs of the ServiceEntries by name, from `names.service_entries`."""
    proxy_config: Json
    """Spec of the ProxyConfig, from `bootstrap.proxy_config`."""


class VendorAttribution(pulumi.ComponentResource):
    """Labels the outbound connections of crawlers with their proxy vendor.

    It fails open: if an Istio upgrade stops a patch from matching, crawlers keep working and only
    the labels are lost.

    It must come after istiod, which validates EnvoyFilters.
    """

    def __init__(
        self, name: str, args: VendorAttributionArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:attribution:VendorAttribution", name, None, opts)
        self._child = child_options(self, opts)
        for namespace_name, namespace in args.namespaces.items():
            prefix = f"{name}-{namespace_name}"
            filters = self._filters(prefix, namespace, args.filters)
            entries = self._service_entries(prefix, namespace, args.service_entries, filters)
            if args.sidecar is not None:
                CustomResource(
                    f"{prefix}-sidecar",
                    api_version="networking.istio.io/v1",
                    kind="Sidecar",
                    metadata=_metadata("proxy-observability", namespace),
                    spec=args.sidecar,
                    # With `network.egress: vendorsOnly` it cuts every vendor that is not there yet.
                    # `destroy` deletes it first.
                    opts=pulumi.ResourceOptions.merge(
                        self._child, pulumi.ResourceOptions(depends_on=[*filters, *entries])
                    ),
                )
            CustomResource(
                f"{prefix}-proxy-config",
                api_version="networking.istio.io/v1beta1",
                kind="ProxyConfig",
                metadata=_metadata(PROXY_CONFIG, namespace),
                spec=args.proxy_config,
                opts=self._child,
            )
        self.register_outputs({})

    def _service_entries(
        self,
        name: str,
        namespace: pulumi.Input[str],
        entries: Mapping[str, Json],
        filters: Sequence[CustomResource],
    ) -> list[CustomResource]:
        """Create ServiceEntries after all filters, so that `destroy` deletes them first.

        They lead crawlers to virtual addresses, where ports that are not listed need our chains.
        """
        return [
            CustomResource(
                f"{name}-{entry_name}",
                api_version="networking.istio.io/v1",
                kind="ServiceEntry",
                metadata=_metadata(entry_name, namespace),
                spec=spec,
                opts=pulumi.ResourceOptions.merge(
                    self._child, pulumi.ResourceOptions(depends_on=list(filters))
                ),
            )
            for entry_name, spec in entries.items()
        ]

    def _filters(
        self, name: str, namespace: pulumi.Input[str], filters: Mapping[str, Json]
    ) -> list[CustomResource]:
        """Create filters with clusters first, so that `destroy` deletes them last.

        A chain without its cluster would answer 503.
        """
        before = filters_before(filters)
        made: dict[str, CustomResource] = {}
        for filter_name in sorted(filters, key=lambda other: len(before[other])):
            made[filter_name] = CustomResource(
                f"{name}-{filter_name}",
                api_version="networking.istio.io/v1alpha3",
                kind="EnvoyFilter",
                # The name is fixed: runbooks use it. istiod merges by priority and age, so no
                # EnvoyFilter may depend on an order between them.
                metadata=_metadata(filter_name, namespace),
                spec=filters[filter_name],
                opts=pulumi.ResourceOptions.merge(
                    self._child,
                    pulumi.ResourceOptions(depends_on=[made[one] for one in before[filter_name]]),
                ),
            )
        return list(made.values())


def _metadata(object_name: str, namespace: pulumi.Input[str]) -> meta.ObjectMetaArgs:
    return meta.ObjectMetaArgs(name=object_name, namespace=namespace, labels=labels(APP))
