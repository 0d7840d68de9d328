"""Vendors by name with the other pairs of Istio and Envoy."""

from __future__ import annotations

import pytest

from tests.mesh.test_earlier_istio import (  # noqa: F401
    mesh,
    servers,
)
from tests.mesh.test_names import (  # noqa: F401
    pod,
    test_a_name_s_pool,
    test_a_pod_that_does_not_opt_in,
    test_answers_that_change,
    test_each_protocol_by_name,
)

pytestmark = pytest.mark.long
