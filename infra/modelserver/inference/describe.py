"""What models there are: GetModelMetadata and GetModelStatus."""

from collections.abc import Iterable

from infra.modelserver.errors import invalid_argument
from infra.modelserver.lifecycle.manager import Manager, VersionStatus
from tasks.wire.protos import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelSpec,
)

_SIGNATURE_DEF = "signature_def"


def version_choice(model_spec: ModelSpec) -> tuple[str, int | None, str | None]:
    """A ModelSpec's name, version and label, as `Manager.acquire` takes them."""
    choice = model_spec.WhichOneof("version_choice")
    version = model_spec.version.value if choice == "version" else None
    return model_spec.name, version, model_spec.version_label if choice == "version_label" else None


def metadata(manager: Manager, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
    """A model's signatures (get_model_metadata_impl.cc).

    Raises:
        StatusError: INVALID_ARGUMENT for a request that asks for anything but `signature_def`, or as
            `Manager.acquire`.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for wanted in request.metadata_field:
        if wanted != _SIGNATURE_DEF:
            raise invalid_argument(f"Metadata field {wanted} is not supported")
    response = GetModelMetadataResponse()
    with manager.acquire(*version_choice(request.model_spec)) as servable:
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.metadata[_SIGNATURE_DEF].Pack(servable.signature_map_proto)
    return response


def model_status(manager: Manager, request: GetModelStatusRequest) -> GetModelStatusResponse:
    """The states of a model's versions (get_model_status_impl.cc).

    Raises:
        StatusError: INVALID_ARGUMENT for a request without a ModelSpec, or as `Manager.statuses`.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    name, version, _ = version_choice(request.model_spec)
    return status_message(manager.statuses(name, version))


def status_message(versions: Iterable[VersionStatus]) -> GetModelStatusResponse:
    """The states of versions, in their order."""
    response = GetModelStatusResponse()
    for status in versions:
        item = response.model_version_status.add(version=status.version, state=status.state)
        item.status.SetInParent()
        item.status.error_code = status.code
        item.status.error_message = status.message
    return response
