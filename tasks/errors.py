"""The tree of errors. Code decides by type, never by message.

    SlipwayError
    ├── InvalidInput             the caller gave something that cannot work; nothing was changed
    │   ├── InvalidData          a data file: shape, dtype, NaN, labels, cut off
    │   ├── InvalidModel         a factory, a model object, a signature
    │   ├── InvalidName          a model, fleet or bucket name
    │   ├── InvalidSavedModel    a folder that is not a SavedModel
    │   ├── InvalidSettings      a setting, a missing file or program
    │   └── NoReplica            a fleet none of whose replicas reports: mistyped, or they are silent
    ├── NotServable              a SavedModel that TensorFlow Serving could not serve
    │   └── ForbiddenOps         its graph holds operations that touch files or run code
    ├── NotFound                 a version, model or record that does not exist
    ├── StoreError               object storage
    │   ├── StoreUnreachable     no answer, or an answer that a retry may change
    │   ├── StoreRefused         wrong credentials, no bucket, no permission
    │   ├── StoreUnsuitable      it ignores create-if-absent
    │   ├── StoreWentBack        it lost configs that a replica has reached
    │   └── Corrupt              bytes that are not what the manifest, or a record's own form, says
    │       └── SignatureInvalid a version that is unsigned, or signed by another key
    ├── ServingError             a model server
    │   ├── ServingUnreachable   no answer
    │   ├── ServingRefused       it answered with an error of its own
    │   └── LoadFailed           a version ended in END, with the server's own message, or could not get that far
    ├── TrackingError            experiment tracking (MLflow) refused, or was asked for what it does not have
    │   └── TrackingUnreachable  no answer, or an answer that a retry may change
    ├── DeadlineExceeded         something took longer than it may; says what was awaited
    ├── GateFailed               the version is worse than the live one, or breaks clients of it
    ├── ValidationFailed         a replica's answers are not the trained model's
    ├── RolloutFailed            the rollout was aborted; says what serves now
    │   ├── VersionFailed        no replica could load the version, by the version's own fault
    │   └── RolloutConflict      another rollout of this model is under way
    └── StackError               the local stack: a taken port, a program that ended
        └── PortTaken

Each message says what was wrong, with which value, what was expected, and what to do next.
"""


class SlipwayError(Exception):
    """Root of all errors that Slipway raises on purpose."""


class InvalidInput(SlipwayError):
    """The caller gave something that cannot work; nothing was changed."""


class InvalidData(InvalidInput):
    """A data file whose content cannot be trained on."""


class InvalidModel(InvalidInput):
    """A factory, model object or signature that cannot be used."""


class InvalidName(InvalidInput):
    """A model, fleet or bucket name that could not be served or stored."""


class InvalidSavedModel(InvalidInput):
    """A folder that is not a SavedModel."""


class InvalidSettings(InvalidInput):
    """A setting with an impossible value, or something it points at that is missing."""


class NoReplica(InvalidInput):
    """A fleet none of whose replicas reports: its name is mistyped, or they are silent."""


class NotServable(SlipwayError):
    """A SavedModel that TensorFlow Serving could not serve."""


class ForbiddenOps(NotServable):
    """A SavedModel whose graph holds operations that touch files or run code."""


class NotFound(SlipwayError):
    """A version, model or record that does not exist."""


class StoreError(SlipwayError):
    """Object storage did not do what was asked."""


class StoreUnreachable(StoreError):
    """Object storage gave no answer, or one that a retry may change."""


class StoreRefused(StoreError):
    """Object storage refused: wrong credentials, no bucket, no permission."""


class StoreUnsuitable(StoreError):
    """Object storage lacks what Slipway rests on: create-if-absent."""


class StoreWentBack(StoreError):
    """Object storage lost configs that a replica has reached."""


class Corrupt(StoreError):
    """Stored bytes are not what they should be."""


class SignatureInvalid(Corrupt):
    """A version or a fleet's config that is unsigned, or signed by a key that is not trusted."""


class ServingError(SlipwayError):
    """A model server did not do what was asked."""


class ServingUnreachable(ServingError):
    """A model server gave no answer."""


class ServingRefused(ServingError):
    """A model server answered with an error of its own; `code` is its gRPC code's name, or the HTTP status."""

    def __init__(self, message: str, code: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.code = code


class LoadFailed(ServingError):
    """A version ended in END, ended its server, does not fit into memory, or could not be fetched.

    `model` is the model concerned, if it is a single one; `by_version`, whether its version seems to be at fault: the
    server itself gave it up, or ended over it.
    """

    def __init__(self, message: str, model: str | None = None, by_version: bool = False) -> None:
        super().__init__(message)
        self.model = model
        self.by_version = by_version


class TrackingError(SlipwayError):
    """Experiment tracking did not do what was asked."""


class TrackingUnreachable(TrackingError):
    """Experiment tracking gave no answer, or one that a retry may change."""


class DeadlineExceeded(SlipwayError):
    """Something took longer than it may."""


class GateFailed(SlipwayError):
    """A version is worse than the live one, or breaks clients of it; nothing was changed."""


class AlreadyPublished(SlipwayError):
    """A version of the same content was published meanwhile; nothing was changed."""


class ValidationFailed(SlipwayError):
    """A replica's answers are not those of the trained model."""


class RolloutFailed(SlipwayError):
    """A rollout was aborted, and what was served before it is restored."""


class VersionFailed(RolloutFailed):
    """A version could not be loaded by any replica, and nothing but the version seems to be at fault."""


class RolloutConflict(RolloutFailed):
    """Another rollout of the same model is under way."""


class StackError(SlipwayError):
    """The local stack could not be started, stopped or asked."""


class PortTaken(StackError):
    """A port that the stack needs is in use by another program."""


# No answer came: trying again may help. A wrong model stays wrong.
TRANSPORT_ERRORS = (StoreUnreachable, ServingUnreachable)
