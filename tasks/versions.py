"""The versions of a model: their manifests, claims and verdicts in the store."""

from dataclasses import dataclass

from tasks import layout
from tasks.errors import Corrupt, NotFound
from tasks.records import Manifest, Verdict
from tasks.store import Store


@dataclass(frozen=True)
class Version:
    """A published version and what rollouts decided about it."""

    manifest: Manifest
    verdict: Verdict | None

    @property
    def state(self) -> str:
        """`published` until a rollout has decided, then its decision."""
        return self.verdict.state if self.verdict else "published"


def published(store: Store, model: str) -> list[int]:
    """Numbers of the versions that have a manifest, ascending: the ones that exist."""
    return _numbers(store, layout.manifests_prefix(model))


def claimed(store: Store, model: str) -> list[int]:
    """Numbers that are taken, whether or not a version came of it, ascending."""
    return _numbers(store, layout.claims_prefix(model))


def models(store: Store) -> list[str]:
    """Names of all models that have a version or a claim, sorted."""
    return store.children("models/")


def manifest(store: Store, model: str, version: int) -> Manifest:
    """The manifest of a version.

    Raises:
        NotFound: there is no such version.
        Corrupt: what lies there is no manifest, or that of another version.
    """
    key = layout.manifest_key(model, version)
    data = store.find(key)
    if data is None:
        there = published(store, model)
        known = f"Published: {', '.join(map(str, there))}." if there else "It has no published version."
        raise NotFound(f"Model {model!r} has no version {version}. {known}")
    found = Manifest.from_json(data, store.uri(key))
    if (found.model, found.version) != (model, version):
        raise Corrupt(
            f"{store.uri(key)} is the manifest of {found.model} {found.version}, not of {model} {version}: "
            "it was copied there by hand. Publish the version again under a number of its own."
        )
    return found


def verdict(store: Store, model: str, version: int) -> Verdict | None:
    """What rollouts decided about a version, None where none has decided yet."""
    key = layout.verdict_key(model, version)
    data = store.find(key)
    return Verdict.from_json(data, store.uri(key)) if data is not None else None


def decide(store: Store, decision: Verdict) -> None:
    """Write a version's verdict over the one before; the same decision twice is the same as once."""
    store.put(layout.verdict_key(decision.model, decision.version), decision.to_json())


def version(store: Store, model: str, number: int) -> Version:
    """A published version with its verdict.

    Raises:
        NotFound: there is no such version.
    """
    return Version(manifest(store, model, number), verdict(store, model, number))


def _numbers(store: Store, prefix: str) -> list[int]:
    numbers = (layout.number_in(key) for key in store.keys(prefix))
    return sorted(n for n in numbers if n is not None)
