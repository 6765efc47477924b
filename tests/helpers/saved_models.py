"""SavedModels small enough to be written without TensorFlow."""

from pathlib import Path

from tasks.wire.protos import MetaGraphDef, SavedModel


def write_saved_model(directory: Path, weights: bytes = b"weights", *ops: str) -> Path:
    """A SavedModel in the new folder `directory`, whose graph holds one node of each of `ops`."""
    graph = MetaGraphDef()
    graph.meta_info_def.tags.append("serve")
    for op in ops:
        graph.graph_def.node.add(name=f"the-{op}", op=op)
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(SavedModel(meta_graphs=[graph]).SerializeToString())
    (directory / "variables" / "variables.data-00000-of-00001").write_bytes(weights)
    (directory / "fingerprint.pb").write_bytes(b"fingerprint of " + weights)
    return directory
