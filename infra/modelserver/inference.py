"""Classify and Regress, shared by gRPC and REST: the protos in, the protos out."""

from typing import Any

from infra.modelserver.manager import Manager


def classify(manager: Manager, request: Any, timeout: float | None = None) -> Any:
    """Answer a ClassificationRequest with a ClassificationResponse (blocking; raises ServingError)."""
    raise NotImplementedError


def regress(manager: Manager, request: Any, timeout: float | None = None) -> Any:
    """Answer a RegressionRequest with a RegressionResponse (blocking; raises ServingError)."""
    raise NotImplementedError
