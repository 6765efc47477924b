"""Which versions are soaked, and for how long."""

import pytest

from tasks.records import Verdict, VerdictState
from tasks.store.base import Store
from tasks.validation.soak import soak_time
from tasks.versions import catalog
from tests.helpers.policies import policy


@pytest.mark.parametrize(
    ("state", "soaked"), [(None, True), ("rejected", True), ("retired", True), ("accepted", False)]
)
def test_a_version_is_soaked_unless_it_has_proven_itself_before(
    store: Store, state: VerdictState | None, soaked: bool
) -> None:
    if state is not None:
        catalog.decide(store, Verdict(model="MLP", version=1, state=state, reason="", run="test"))
    assert soak_time(store, "MLP", 1, policy(soak=5.0)) == (5.0 if soaked else 0)
