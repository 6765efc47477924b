"""The model server's errors: StatusError answers a request, StartupError ends the program.

This package does not import the tree in `tasks.errors`, which is for the steps of a delivery.
"""

import logging
from enum import IntEnum

import grpc

log = logging.getLogger(__name__)


class Code(IntEnum):
    """The canonical status codes (google.rpc.Code), numbered as on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def http_status(self) -> int:
        """The HTTP status that TensorFlow Serving's REST API answers for this code (http_server.cc)."""
        return _HTTP[self]

    @property
    def grpc_status(self) -> grpc.StatusCode:
        """The gRPC status of the same name."""
        return _GRPC[self]


_HTTP = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
_GRPC = {code: grpc.StatusCode[code.name] for code in Code}


class StatusError(Exception):
    """Why a request fails: one of the canonical codes, and the text that TensorFlow Serving would answer.

    Whatever a client can cause is raised as one.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


def invalid_argument(message: str) -> StatusError:
    """An error of code INVALID_ARGUMENT."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    """An error of code NOT_FOUND."""
    return StatusError(Code.NOT_FOUND, message)


def failed_precondition(message: str) -> StatusError:
    """An error of code FAILED_PRECONDITION."""
    return StatusError(Code.FAILED_PRECONDITION, message)


def as_status(error: Exception) -> StatusError:
    """What answers a request that failed with this error; one that no client should be able to cause is logged."""
    if not isinstance(error, StatusError | MemoryError):
        log.error("an unexpected error", exc_info=error)
    # The frames hold all that was made of the request, and among them one holds this error: they would live, with
    # gigabytes at worst, until the garbage collector finds the circle.
    error.__traceback__ = None
    if isinstance(error, StatusError):
        return error
    if isinstance(error, MemoryError):
        return StatusError(Code.RESOURCE_EXHAUSTED, "Out of memory.")
    return StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}")


class StartupError(Exception):
    """The server cannot start: a wrong flag, a wrong file, a taken port, a model that did not load."""
