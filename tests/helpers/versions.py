"""Versions as tests publish them."""

from collections.abc import Mapping
from pathlib import Path

from tasks.records import Build, Comparison, Manifest, SignatureSpec, Training
from tasks.store import keys
from tasks.store.base import Store
from tasks.versions.publish import publish
from tasks.versions.signing import Trust

UNSIGNED = Trust(None)


def publish_version(
    store: Store,
    trust: Trust,
    model: str,
    directory: Path,
    *,
    signatures: Mapping[str, SignatureSpec],
    golden: str | None,
    training: Training,
    run: str,
    gate: Comparison | None = None,
) -> Manifest:
    """Publish the SavedModel in `directory` as the next version of `model`."""
    return publish(store, trust, Build(model, str(directory), signatures, golden, training), run, gate, again=True)


def claimed_numbers(store: Store, model: str) -> list[int]:
    """Numbers that were claimed, whether or not a version came of them, ascending."""
    prefix = keys.claims_prefix(model)
    numbers = (keys.number_in(prefix, key) for key in store.keys(prefix))
    return sorted(number for number in numbers if number is not None)
