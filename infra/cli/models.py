"""Commands that look at models: versions, predict."""

import base64
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli.help import example
from infra.cli.options import Json, Model
from infra.cli.output import print_json, print_page
from tasks.errors import InvalidInput, ServingRefused
from tasks.settings import settings


@example("slipway versions MLP")
def versions(model: Model, as_json: Json = False) -> None:
    """List the published versions of a model: what rollouts decided about them, and which is served."""
    from tasks import names
    from tasks.fleet.config import Fleet, labels_of, live_version, servings
    from tasks.names import candidate_name
    from tasks.reports import pages
    from tasks.versions import catalog

    fleet = Fleet.connect(settings())
    names.model_name(model)
    config = fleet.newest()
    live, mine, trial = live_version(config, model), servings(config).get(model), config.versions(candidate_name(model))
    loaded, labels = (mine.versions, mine.labels) if mine is not None else ((), {})
    found = catalog.versions(fleet.store, model)
    if as_json:
        print_json(
            [
                {
                    "manifest": v.manifest,
                    "state": v.state,
                    "verdict": v.verdict,
                    "served": v.manifest.version in loaded,
                    "live": v.manifest.version == live,
                    "labels": labels_of(labels, v.manifest.version),
                }
                for v in found
            ]
        )
        return
    if not found:
        raise InvalidInput(f"Model {model!r} has no version yet: `slipway release {model}` makes one.")

    def served(number: int) -> str:
        if number == live:
            return "live"
        return "loaded" if number in loaded else "on trial" if number in trial else ""

    rows = [(v, served(v.manifest.version), labels_of(labels, v.manifest.version)) for v in found]
    print_page(pages.versions(model, rows))


@example("slipway predict MLP --signature from_png digit.png")
def predict(
    model: Model,
    file: Annotated[
        Path, typer.Argument(help="A JSON file (a request body, or a list of instances), a .npy array, or one image.")
    ],
    signature: Annotated[str, typer.Option("--signature", "-s", help="Which signature to ask.")] = "serving_default",
    label: Annotated[str | None, typer.Option("--label", help="Ask the version that has this label.")] = None,
) -> None:
    """Ask the served model for a prediction over REST, and print the answer as JSON."""
    from tasks import names
    from tasks.serving.client import ServingClient, Target

    mine = settings()
    body = {"signature_name": signature, **_request(file)}
    target = Target(names.model_name(model), label=label)
    address, url = mine.nearest_server.grpc_address, mine.nearest_server.rest_url
    try:
        with ServingClient(address, url, mine.call_deadline) as server:
            print_json(server.rest("POST", f"{target.path}:predict", body))
    except ServingRefused as error:
        if error.code != "400" or not _is_file_itself(body):
            raise
        advice = "An image needs a signature that takes bytes, such as from_png (--signature from_png)."
        raise ServingRefused(f"{error}\n{advice}", error.code) from None


def _is_file_itself(body: dict[str, Any]) -> bool:
    """Whether the request of `_request` is the bytes of one file."""
    match body:
        case {"instances": [{"b64": str()}]}:
            return True
    return False


def _request(file: Path) -> dict[str, Any]:
    """The `instances` or `inputs` of a request, from a file.

    Raises:
        InvalidInput: the file cannot be read, or holds nothing that can be sent.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"{file} cannot be read ({error.strerror}): give a JSON file, a .npy array or an image."
        ) from None
    if data.startswith(b"\x93NUMPY"):
        return {"instances": _array(file)}
    try:
        value = json.loads(data)
    except ValueError as error:
        if file.suffix == ".json":
            raise InvalidInput(f"{file} is not JSON ({error}): give a request body, or a list of instances.") from None
        return {"instances": [{"b64": base64.b64encode(data).decode()}]}
    if isinstance(value, list):
        return {"instances": value}
    if isinstance(value, dict) and ("instances" in value) != ("inputs" in value):
        return value
    raise InvalidInput(f"{file} is neither a list of instances nor an object with one of 'instances' and 'inputs'.")


def _array(file: Path) -> Any:
    import numpy as np

    try:
        return np.load(file, allow_pickle=False).tolist()
    except (ValueError, OSError) as error:
        raise InvalidInput(f"{file} is not a NumPy array that can be sent ({error}).") from None
