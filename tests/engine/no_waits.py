"""Put before the program where nothing would ever get ready: Pulumi waits for no object."""

from __future__ import annotations

import pulumi


def _without_waiting(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    props = dict(args.props)
    if args.type_ == "kubernetes:helm.sh/v3:Release":
        props["skipAwait"] = True
    elif "metadata" in props and not args.type_.endswith("Patch"):
        metadata = dict(props["metadata"])
        metadata["annotations"] = {
            **(metadata.get("annotations") or {}),
            # But for the end of a namespace, which the tests see to (api_server.py).
            **({} if args.type_.endswith(":Namespace") else {"pulumi.com/skipAwait": "true"}),
            # The garbage collector, which does not run, would end what Pulumi deletes otherwise.
            "pulumi.com/deletionPropagationPolicy": "background",
        }
        props["metadata"] = metadata
    else:
        return None
    return pulumi.ResourceTransformResult(props, args.opts)


pulumi.runtime.register_resource_transform(_without_waiting)
