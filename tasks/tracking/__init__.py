"""Experiments and the model registry in MLflow, which nothing else imports. Start with `runs`.

A training needs the MLflow server; rollouts and rollbacks go on while it is away.
"""
