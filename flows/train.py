"""Training: data, model, export, and the proof that TensorFlow Serving could serve it. Nothing is published."""

from prefect import flow
from prefect.runtime import flow_run

from tasks.build import Build, discard, fit, try_alone
from tasks.snapshot import snapshot


@flow(name="train", flow_run_name="train {model}")
def train(
    model: str = "MLP",
    factory: str = "tasks.models:mlp",
    signatures: dict[str, str] | None = None,
    data: str = "mnist-5k",
    epochs: int = 15,
    seed: int = 1,
    split_seed: int = 0,
) -> Build:
    """Train `model` and export it as a SavedModel with golden examples.

    Args:
        factory: what makes the model, as `package.module:name`.
        signatures: which of its methods to export, by the name that clients ask for; all that can be if not given.
        data: `mnist-5k`, `mnist`, or the path of an `.npz` with arrays `x` and `y`.
        seed: of the weights and the order of training; the same seed, data and code give the same weights.
        split_seed: of the split into train, validation and held-out examples.
    """
    taken = snapshot(data, split_seed)
    build = fit(model, factory, signatures, data, taken, epochs, seed, flow_run.id)
    try:
        try_alone(build)
    except BaseException:
        discard(build)
        raise
    return build
