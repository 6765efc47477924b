"""TensorFlow Serving's REST API. Start with `app`."""
