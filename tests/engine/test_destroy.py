"""What one command removes, and what the next `up` finds."""

from __future__ import annotations

from tests.engine.engine import Engine
from tests.engine.repair import TAKE_OVER


def test_destroy_in_one_command_leaves_what_is_listed(engine: Engine) -> None:
    """Crawlers' namespaces, `monitoring` and Istio's CRDs stay; the next `up` takes them over."""
    engine.ok("destroy", "--yes", "--skip-preview")
    assert engine.ids() == {}
    assert engine.namespaces() == {"crawlers", "monitoring"}
    assert not engine.filters()
    assert not engine.objects("all", "-n", "monitoring", "-l", "app.kubernetes.io/name=prometheus")
    # Another team's Istio: a second installation of ours gives istiod another address.
    engine.kubectl("create", "namespace", "istio-system")
    engine.edit(lambda keys: keys.update(istio={"install": False, "cni": True}))
    refused = engine.pulumi("up", "--yes", "--skip-preview", "--suppress-outputs")
    assert refused.code != 0
    assert "already exists" in refused.text
    engine.up(**TAKE_OVER)
    engine.preview("--expect-no-changes")
