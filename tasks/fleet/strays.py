"""What lies in the store and cannot be used. Everything else passes it over; here it is named."""

from collections.abc import Iterator
from functools import partial

from tasks import names
from tasks.errors import Corrupt
from tasks.fleet.config import Fleet, fleet_names
from tasks.records import Claim, Manifest, Record, ReplicaReport, RolloutRecord, Verdict
from tasks.store import keys
from tasks.store.base import Store, in_parallel
from tasks.versions import catalog
from tasks.versions.signing import Trust


def strays(store: Store, trust: Trust) -> list[str]:
    """Each object among fleets' and versions' records that no part of Slipway can use, and why, in words.

    Raises:
        StoreError: the store does not answer.
        InvalidSettings: there is no key to verify configs with.
    """
    found = list(_odd_folders(store))
    for name in fleet_names(store):
        found += _configs(Fleet(store, trust, name, 0.0))
        found += _unreadable(store, keys.replicas_prefix(name), ReplicaReport)
        found += _unreadable(store, keys.rollouts_prefix(name), RolloutRecord)
    for model in catalog.models(store):
        found += _unreadable(store, keys.claims_prefix(model), Claim)
        found += _unreadable(store, keys.manifests_prefix(model), Manifest)
        found += _unreadable(store, keys.verdicts_prefix(model), Verdict)
    return found


def _odd_folders(store: Store) -> Iterator[str]:
    for prefix in (keys.fleets_prefix(), keys.models_prefix()):
        for name in store.children(prefix):
            if not names.is_name(name):
                yield f"{store.uri(f'{prefix}{name}/')} is not named as Slipway names anything. Remove it."


def _configs(fleet: Fleet) -> list[str]:
    prefix, followed = keys.configs_prefix(fleet.name), set(fleet.numbers())
    found = []
    for key in fleet.store.keys(prefix):
        number = keys.number_in(prefix, key)
        if number not in followed:
            found.append(f"{fleet.store.uri(key)} follows on no config of the fleet. Remove it.")
        elif not fleet.is_signed(number, fleet.store.get(key)):
            why = "is not signed with the trusted key, and is passed over"
            found.append(f"{fleet.store.uri(key)} {why}. Leave it: its number is taken.")
    return found


def _unreadable(store: Store, prefix: str, kind: type[Record]) -> list[str]:
    every = [o for o in store.objects(prefix) if o.size]  # the mark of a closed number is empty
    return [why for why in in_parallel(partial(_why_not, store, prefix, kind), [o.key for o in every]) if why]


def _why_not(store: Store, prefix: str, kind: type[Record], key: str) -> str | None:
    if "/" in key.removeprefix(prefix) or not key.endswith(".json"):
        return f"{store.uri(key)} is not where Slipway puts anything. Remove it."
    try:
        store.find_record(key, kind)
    except Corrupt as error:
        return f"{error} Remove it, or put back what was there."
    return None
