"""Labelled examples: their sources, checks, split and held-out part. Start with `dataset`.

Reads the files that a run names, downloads MNIST, and keeps held-out examples in the store.
Knows neither training nor a model server.
"""
