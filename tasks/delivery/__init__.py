"""Changing what a fleet serves: plan, rollout, recovery, rollback, pruning. Start with `rollout`.

Nothing else writes a fleet's configs, or what was decided about a version.
"""
