"""What Kubernetes tells Prometheus of a cluster's pods and nodes: those we scrape, and others.

The labels are those of Prometheus' `kubernetes_sd_configs`, roles pod, node and endpoints.
"""

from __future__ import annotations

Target = dict[str, str]
META = "__meta_kubernetes"


def pod(namespace: str, name: str, address: str, container: str, port: int, **more: str) -> Target:
    return {
        "__address__": f"{address}:{port}",
        f"{META}_namespace": namespace,
        f"{META}_pod_name": name,
        f"{META}_pod_ip": address,
        f"{META}_pod_phase": "Running",
        f"{META}_pod_ready": "true",
        f"{META}_pod_node_name": "node-1",
        f"{META}_pod_container_name": container,
        f"{META}_pod_container_port_name": "http",
        f"{META}_pod_container_port_number": str(port),
        f"{META}_pod_container_init": "false",
        **{f"{META}_pod_{key}": value for key, value in more.items()},
    }


def labelled(label: str, value: str) -> Target:
    return {f"label_{label}": value, f"labelpresent_{label}": "true"}


def app(name: str, part_of: str = "proxy-observability") -> Target:
    return {
        **labelled("app_kubernetes_io_name", name),
        **labelled("app_kubernetes_io_part_of", part_of),
    }


def owned(kind: str, name: str) -> Target:
    return {"controller_kind": kind, "controller_name": name}


INJECTED = {
    "annotation_sidecar_istio_io_status": "{}",
    "annotationpresent_sidecar_istio_io_status": "true",
}
NATIVE = {**INJECTED, "container_init": "true"}

OLD = owned("ReplicaSet", "old-5d4f8")

PODS: tuple[Target, ...] = (
    pod("crawlers", "shop-1", "10.244.1.5", "istio-proxy", 15090, **NATIVE),
    pod("crawlers-eu", "news-1", "10.244.2.5", "istio-proxy", 15090, **INJECTED),
    pod("crawlers", "shop-1", "10.244.1.5", "istio-proxy", 15021, **INJECTED),
    pod("crawlers", "shop-1", "10.244.1.5", "shop", 8080, **INJECTED),
    pod("crawlers", "done-1", "10.244.1.6", "istio-proxy", 15090, phase="Succeeded", **INJECTED),
    # Without a sidecar: two pods of a rollout with two ports, a Job's, one on the node's network.
    *(
        pod("crawlers", f"old-{n}", f"10.244.3.{n}", "old", port, **OLD)
        for n in (1, 2)
        for port in (8080, 8081)
    ),
    pod("crawlers-eu", "run-1", "10.244.3.3", "run", 80, **owned("Job", "run-29384756")),
    pod("crawlers-eu", "set-0", "172.18.0.2", "set", 80, **owned("StatefulSet", "set")),
    pod("crawlers", "bare", "10.244.3.4", "bare", 80),
    pod("crawlers", "gone", "10.244.3.5", "gone", 80, phase="Succeeded"),
    pod("crawlers", "waits", "10.244.3.6", "waits", 80, phase="Pending"),
    pod("shops", "web-2", "10.244.3.7", "web", 80),
    pod("shops", "web-1", "10.244.1.7", "istio-proxy", 15090),
    pod(
        *("crawlers", "load-generator-0", "10.244.1.8", "crawler", 9464),
        **labelled("proxy_observability_component", "load-generator"),
        **INJECTED,
    ),
    pod("istio-system", "istiod-1", "10.244.1.9", "discovery", 15014),
    pod("istio-system", "istiod-1", "10.244.1.9", "discovery", 15012),
    pod(
        *("proxy-vendors", "vendor-a-1", "10.244.1.10", "vendor", 9465),
        **app("simulated-vendor"),
    ),
    pod(
        *("proxy-vendors", "vendor-a-1", "10.244.1.10", "vendor", 3128),
        **app("simulated-vendor"),
    ),
    pod(
        *("monitoring", "alertmanager-0", "10.244.1.11", "alertmanager", 9093),
        **app("alertmanager"),
    ),
    pod(
        *("monitoring", "alertmanager-0", "10.244.1.11", "alertmanager", 9094),
        **app("alertmanager"),
    ),
    pod("monitoring", "grafana-1", "10.244.1.12", "grafana", 3000, **app("grafana")),
    pod(
        *("monitoring", "prometheus-0", "10.244.1.13", "prometheus", 9090),
        **app("prometheus"),
    ),
)

NODES: tuple[Target, ...] = (
    {"__address__": "172.18.0.2:10250", f"{META}_node_name": "node-1"},
    {"__address__": "172.18.0.3:10250", f"{META}_node_name": "node-2"},
)

_KUBELET = {
    f"{META}_namespace": "kube-system",
    f"{META}_service_name": "kube-prometheus-stack-kubelet",
    f"{META}_service_label_app_kubernetes_io_name": "kubelet",
    f"{META}_service_labelpresent_app_kubernetes_io_name": "true",
    f"{META}_service_label_k8s_app": "kubelet",
    f"{META}_service_labelpresent_k8s_app": "true",
    f"{META}_endpoint_address_target_kind": "Node",
}
# The same nodes, as the operator's Service of the kubelets has them; and a Service beside it.
ENDPOINTS: tuple[Target, ...] = (
    *(
        {
            **_KUBELET,
            "__address__": f"{address}:{port}",
            f"{META}_endpoint_port_name": name,
            f"{META}_endpoint_address_target_name": node,
        }
        for node, address in (("node-1", "172.18.0.2"), ("node-2", "172.18.0.3"))
        for name, port in (("https-metrics", 10250), ("http-metrics", 10255))
    ),
    {
        "__address__": "10.244.1.14:9153",
        f"{META}_namespace": "kube-system",
        f"{META}_service_name": "kube-dns",
        f"{META}_endpoint_port_name": "https-metrics",
    },
)

BY_ROLE = {"pod": PODS, "node": NODES, "endpoints": ENDPOINTS}
