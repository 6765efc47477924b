"""What is scheduled: the order of the steps, and where a rollout is aborted.

A flow reads as prose; its steps are functions of `tasks`, made into Prefect tasks in `steps`. Start with `release`.
"""
