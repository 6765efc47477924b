"""Versions as tests publish them."""

from collections.abc import Mapping
from pathlib import Path

from tasks.records import Build, Comparison, Manifest, SignatureSpec, Training
from tasks.store.s3 import Store
from tasks.versions.publish import publish


def publish_version(
    store: Store,
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
    return publish(store, Build(model, str(directory), signatures, golden, training), run, gate)
