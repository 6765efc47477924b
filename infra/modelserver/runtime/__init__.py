"""SavedModels in memory, run through TensorFlow's C API. Start with `servable`."""
