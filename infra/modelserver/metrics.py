"""Counters and latencies under TensorFlow Serving's names, as a Prometheus page."""


class Metrics:
    """What the server counts. Thread-safe."""

    def record_request(self, model_name: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """One request ended.

        api is "Predict", "Classify", "Regress" or "MultiInference"; entrypoint "REST" or "GRPC"; status a Code's name.
        """
        raise NotImplementedError

    def page(self) -> str:
        """The text of the Prometheus page, content type text/plain."""
        raise NotImplementedError
