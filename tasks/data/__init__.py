"""Labelled examples: where they come from, how they are checked, split and kept. Start with `dataset`.

Needs neither training nor a model server.
"""
