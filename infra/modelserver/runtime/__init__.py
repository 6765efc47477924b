"""SavedModels in memory, run through TensorFlow's C API.

It knows nothing of requests; TensorFlow's Python package is not imported. Start with `servable`.
"""
