"""Predict, classify, regress and warm-up, from request to answer. Start with `predict`."""
