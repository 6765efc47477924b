"""The policy that holds where nothing is set, and others that differ from it."""

from typing import Any

from tasks.policy import Policy
from tasks.settings import Settings

POLICY = Policy.of(Settings.model_construct())


def policy(**values: Any) -> Policy:
    """`POLICY` with these values in place of its own."""
    return POLICY.changed(values, "this test")
