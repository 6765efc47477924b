"""Asking a model server, choosing its program, and running one for a while. Start with `client`.

Knows TensorFlow Serving's protocols and nothing of versions, fleets or the store.
"""
