"""What is scheduled: the order of the steps, and where a rollout is aborted."""
