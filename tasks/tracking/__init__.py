"""Experiments and the model registry in MLflow; the only room that imports it. Start with `runs`."""
