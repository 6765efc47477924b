"""The policy of each model: what it says in the store, and which policy holds for a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tasks import names
from tasks.errors import Corrupt, InvalidInput
from tasks.policy import MetricRule, Policy, Values, flat
from tasks.records import Record, now
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.base import Store


@dataclass(frozen=True)
class ModelPolicy(Record):
    """What the policy of one model says; for all else the settings count."""

    model: str
    values: Mapping[str, Any]  # by name, as in the file that it was set from
    time: datetime = field(default_factory=now)


def model_policy(store: Store, model: str) -> ModelPolicy | None:
    """What the policy of `model` says, None if it has none.

    Raises:
        Corrupt: it cannot be read.
    """
    try:
        return store.find_record(keys.policy_key(model), ModelPolicy)
    except Corrupt as error:
        raise Corrupt(f"{error} `slipway policy {model} set FILE` replaces it.") from None


def set_policy(store: Store, settings: Settings, model: str, values: Values, source: str) -> ModelPolicy:
    """Give `model` a policy in place of the one before, if it has one; the last writer wins.

    Raises:
        InvalidName: there can be no such model.
        InvalidInput: a name that is not known, or a value that cannot be; `source` says where it comes from.
    """
    Policy.of(settings).changed(values, source)
    found = ModelPolicy(names.model_name(model), values)
    store.put(keys.policy_key(model), found.to_json())
    return found


def choose_policy(
    store: Store,
    settings: Settings,
    model: str,
    given: Values | None = None,
    gate: Mapping[str, MetricRule] | None = None,
) -> Policy:
    """The policy for a run: what is given with it, else what the model's own says, else the recipe, else the settings.

    Args:
        gate: the rules of the recipe that made the version, by the names of figures; None: it has none.

    Raises:
        InvalidInput: a name that is not known in `given`, or a value that cannot be.
        Corrupt: the model's own cannot be used.
    """
    policy = Policy.of(settings)
    if gate is not None:
        policy = replace(policy, metrics=gate)
    # What was chosen for a release holds for its rollout too, whatever is set meanwhile.
    whole = given is not None and flat(given).keys() >= flat(policy.values()).keys()
    own = None if whole else model_policy(store, model)
    if own is not None:
        source = store.uri(keys.policy_key(model))
        try:
            policy = policy.changed(own.values, source)
        except InvalidInput as error:
            raise Corrupt(
                f"{error} A newer release or somebody else wrote it: `slipway policy {model} set FILE` replaces it."
            ) from None
    return policy.changed(given, "The policy given with this run") if given else policy
