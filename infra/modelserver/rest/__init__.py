"""TensorFlow Serving's REST API, from HTTP and JSON to arrays and back.

Texts, number formats and error messages are TensorFlow Serving's own. Start with `app`.
"""
