"""Where things lie in object storage: every key is made here and nowhere else."""

import re


def models_prefix() -> str:
    """Prefix of all models; the folders under it are their names."""
    return "models/"


def versions_prefix(model: str) -> str:
    """Prefix of a model's versions: by itself a TensorFlow Serving base path."""
    return f"models/{model}/"


def version_prefix(model: str, version: int) -> str:
    """Prefix of one version's files."""
    return f"models/{model}/{version}/"


def claims_prefix(model: str) -> str:
    """Prefix of the claims on a model's version numbers."""
    return f"models/{model}/claims/"


def claim_key(model: str, version: int) -> str:
    """The claim on a version number."""
    return f"{claims_prefix(model)}{version}.json"


def manifests_prefix(model: str) -> str:
    """Prefix of a model's manifests."""
    return f"models/{model}/manifests/"


def manifest_key(model: str, version: int) -> str:
    """A version's manifest, its commit mark."""
    return f"{manifests_prefix(model)}{version}.json"


def signature_key(model: str, version: int) -> str:
    """The signature over a version's manifest."""
    return f"models/{model}/signatures/{version}.json"


def verdicts_prefix(model: str) -> str:
    """Prefix of the verdicts on a model's versions."""
    return f"models/{model}/verdicts/"


def verdict_key(model: str, version: int, number: int = 1) -> str:
    """The verdict `number` on a version, from 1."""
    return (
        f"{verdicts_prefix(model)}{version}.json" if number == 1 else f"{verdicts_prefix(model)}{version}.{number}.json"
    )


def verdict_place(model: str, key: str) -> tuple[int, int] | None:
    """The version that a verdict is on, and which of its verdicts it is; None for any other key."""
    match = re.fullmatch(r"([0-9]{1,18})(?:\.([0-9]{1,9}))?\.json", key.removeprefix(verdicts_prefix(model)))
    place = (int(match[1]), int(match[2] or 1)) if match else (0, 0)
    return place if key == verdict_key(model, *place) else None


def policy_key(model: str) -> str:
    """The policy of a model, which a rollout goes by unless another is given with it."""
    return f"models/{model}/policy.json"


def made_key(model: str, identity: str) -> str:
    """Which version was made from the data, code and settings of this identity."""
    return f"models/{model}/made/{identity}.json"


def content_key(model: str, content_id: str) -> str:
    """Which version has this content."""
    return f"models/{model}/contents/{content_id.replace(':', '-')}.json"


def fleets_prefix() -> str:
    """Prefix of all fleets; the folders under it are their names."""
    return "fleets/"


def configs_prefix(fleet: str) -> str:
    """Prefix of a fleet's configs; up to 999999 their keys sort as their numbers do."""
    return f"fleets/{fleet}/configs/"


def config_key(fleet: str, number: int) -> str:
    """Desired state `number` of a fleet."""
    return f"{configs_prefix(fleet)}{number:06d}.config"


def rollouts_prefix(fleet: str) -> str:
    """Prefix of a fleet's rollouts under way."""
    return f"fleets/{fleet}/rollouts/"


def rollout_key(fleet: str, model: str) -> str:
    """The rollout of a model that is under way in a fleet."""
    return f"{rollouts_prefix(fleet)}{model}.json"


def replicas_prefix(fleet: str) -> str:
    """Prefix of a fleet's replica reports."""
    return f"fleets/{fleet}/replicas/"


def replica_key(fleet: str, replica: str) -> str:
    """A replica's latest report."""
    return f"{replicas_prefix(fleet)}{replica}.json"


def replica_changes_key(fleet: str) -> str:
    """What was told of a fleet's replicas."""
    return f"fleets/{fleet}/replica-changes.json"


def held_out_key(dataset: str, sha256: str, split_seed: int) -> str:
    """The part of a dataset that training never sees, under the hash of the whole."""
    return f"datasets/{dataset}/{sha256}/held-out-{split_seed}.npz"


def number_in(prefix: str, key: str) -> int | None:
    """The number that a claim, manifest or config directly under `prefix` is for; None for any other key."""
    match = re.fullmatch(r"([0-9]{1,18})\.(json|config)", key.removeprefix(prefix))
    number = int(match[1]) if match else 0
    made_here = number > 0 and key in (f"{prefix}{number}.json", f"{prefix}{number:06d}.config")
    return number if made_here else None
