"""Changing what a fleet serves: plan, rollout, recovery, rollback, pruning. Start with `rollout`."""
