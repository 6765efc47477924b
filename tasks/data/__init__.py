"""Labelled examples: where they come from, how they are checked, split and kept. Start with `dataset`.

Reads the files that a run names, downloads MNIST, and keeps held-out examples in the store.
Knows neither training nor a model server.
"""
