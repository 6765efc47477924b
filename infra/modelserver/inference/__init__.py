"""Predict, classify, regress, warm-up and metadata: from request proto to response proto.

REST, gRPC and warm-up call it; it knows nothing of HTTP. Start with `predict`.
"""
