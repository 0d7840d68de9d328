"""Run the tests of traffic, of failing open and of the contract with the other pairs, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mesh import vendors
from tests.mesh.conftest import run_mesh
from tests.mesh.mesh import Mesh
from tests.mesh.test_contract import (  # noqa: F401
    chains,
    stats,
    test_a_job_s_pod_can_complete,
    test_every_chain_asks_for_what_counts,
    test_istio_stats_arrives_as_rendered,
    test_istiod_validates_every_rendered_resource,
    test_istiod_warns_of_a_field_it_does_not_know,
    test_the_passive_module_arrives_as_rendered,
    test_what_injection_gives_every_crawler,
)
from tests.mesh.test_fail_open import (  # noqa: F401
    test_a_patch_that_does_not_arrive,
    warm,
)
from tests.mesh.test_passive import (  # noqa: F401
    test_a_connection_keeps_its_rules,
    test_a_refused_connect_is_told,
    test_both_sides_see_what_they_see_without_a_sidecar,
)
from tests.mesh.test_traffic import (  # noqa: F401
    pod,
    test_a_connection_like_another_is_known_all_the_same,
    test_a_port_nobody_listed_is_the_vendors_too,
    test_a_server_that_speaks_first_is_not_delayed,
    test_a_shared_address_s_other_ports_are_nobodys,
    test_each_protocol_to_each_vendor,
    test_names_and_labels_are_the_contract_s,
    test_the_histogram_has_the_stack_s_buckets,
    test_the_outcome_is_told,
    test_what_is_no_vendors_passes_byte_for_byte,
)
from tests.mesh.vendors import Servers
from tests.mesh.versions import PAIRS

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", params=PAIRS[1:], ids=lambda pair: pair.name)
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    with run_mesh(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def servers(mesh: Mesh) -> Iterator[Servers]:
    with vendors.serving(mesh.world, mesh.folder) as running:
        yield running
