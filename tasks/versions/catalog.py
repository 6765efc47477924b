"""The versions of a model: their manifests, claims and verdicts in the store."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tasks import names
from tasks.errors import Corrupt, NotFound
from tasks.processes import temporary_folder
from tasks.records import Manifest, Verdict
from tasks.savedmodel import golden
from tasks.savedmodel.golden import GoldenExample
from tasks.store import keys
from tasks.store.base import Store, in_parallel
from tasks.versions import signing
from tasks.versions.signing import Trust

log = logging.getLogger(__name__)

_CLOSED = b""  # in the place of a manifest: no version will ever have this number
_ABSURD = 1000  # a gap between the numbers of two verdicts that no deletions by hand leave


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
    return sorted(n for n, is_open in _decided(store, model).items() if is_open)


def taken(store: Store, model: str) -> set[int]:
    """Numbers that no new version may have: claimed, decided, or with files there that someone else wrote."""
    return {*_claims(store, model), *_decided(store, model), *_folders(store, model)}


def models(store: Store) -> list[str]:
    """Names of all models that have a version, a claim or a policy, sorted."""
    return [name for name in store.children(keys.models_prefix()) if names.is_name(name)]


def manifest(store: Store, model: str, version: int) -> Manifest:
    """The manifest of a version, as it lies in the bucket: anyone who can write there could have written it.

    Raises:
        NotFound: there is no such version.
        Corrupt: what lies there is not a manifest, or is that of another version.
    """
    return parsed(store, model, version, _manifest_bytes(store, model, version))


def trusted_manifest(store: Store, trust: Trust, model: str, version: int) -> Manifest:
    """The manifest of a version; if `trust` names a key, proven to be signed with it.

    Raises:
        NotFound: there is no such version.
        Corrupt: what lies there is not a manifest, or is that of another version.
        SignatureInvalid: it is unsigned, or was not signed with the trusted key.
    """
    data, _ = signed_manifest(store, trust, model, version)
    return parsed(store, model, version, data)


def signed_manifest(store: Store, trust: Trust, model: str, version: int) -> tuple[bytes, bytes | None]:
    """The bytes of a version's manifest and of its signature, proven as by `trusted_manifest`.

    Raises:
        NotFound: there is no such version.
        SignatureInvalid: it is unsigned, or was not signed with the trusted key.
    """
    data = _manifest_bytes(store, model, version)
    if trust.public_key is None:
        return data, None
    signature = store.find(keys.signature_key(model, version))
    signing.verify(data, signature, f"{model} version {version}", trust.public_key)
    return data, signature


def verdict(store: Store, model: str, version: int) -> Verdict | None:
    """What was decided last about a version; None if nothing was yet, or that cannot be read. Two requests."""
    (last,) = verdicts(store, model, [version])
    return last


def verdicts(store: Store, model: str, versions: Sequence[int]) -> Iterator[Verdict | None]:
    """What was decided last about each of these versions, read one by one; None as in `verdict`."""
    kept = _kept_verdicts(store, model, versions)
    for version in versions:
        yield _last_verdict(store, model, version, kept)


def verdict_by(store: Store, model: str, version: int, run: str, fleet: str) -> Verdict | None:
    """What this run's rollout in this fleet decided last about a version, whatever others decided since."""
    for number in reversed(_kept_verdicts(store, model, [version]).get(version, [])):
        found = store.readable(keys.verdict_key(model, version, number), Verdict)
        if found is not None and found.run == run and found.fleet in (None, fleet):
            return found
    return None


def undecided(store: Store, model: str, version: int) -> bool:
    """Whether no rollout has accepted, rejected or retired a version."""
    found = verdict(store, model, version)
    return found is None or found.state == "published"


def decide(store: Store, decision: Verdict, require_turn: Callable[[], None] = lambda: None) -> None:
    """Keep a verdict behind those that the version has: none is ever put over another. Idempotent.

    Args:
        require_turn: raises if whoever decides has lost its right to. It is called after the others' verdicts were
            looked for: a run that took over and decided is either seen by it, or was first, and this asks once more.
    """
    model, version = decision.model, decision.version
    while True:
        kept = _kept_verdicts(store, model, [version])
        require_turn()
        there = _last_verdict(store, model, version, kept)
        if there is not None and replace(there, time=decision.time) == decision:
            return
        number = kept.get(version, [0])[-1] + 1
        if store.create(keys.verdict_key(model, version, number), decision.to_json()):
            return


def _kept_verdicts(store: Store, model: str, versions: Sequence[int]) -> dict[int, list[int]]:
    """Numbers of the verdicts on each version, these among them, ascending. One request.

    Those behind an absurd gap are nobody's: what follows on them would have no end.
    """
    only = f"{versions[0]}." if len(versions) == 1 else ""
    places = (keys.verdict_place(model, key) for key in store.keys(keys.verdicts_prefix(model) + only))
    kept: dict[int, list[int]] = {}
    for version, number in sorted(place for place in places if place is not None):
        numbers = kept.setdefault(version, [])
        if number - (numbers[-1] if numbers else 0) < _ABSURD:
            numbers.append(number)
    return {version: numbers for version, numbers in kept.items() if numbers}


def _last_verdict(store: Store, model: str, version: int, kept: Mapping[int, Sequence[int]]) -> Verdict | None:
    numbers = kept.get(version)
    return store.readable(keys.verdict_key(model, version, numbers[-1]), Verdict) if numbers else None


def versions(store: Store, model: str) -> list[Version]:
    """All published versions with their verdicts, by number; one whose manifest cannot be read is left out."""
    numbers = published(store, model)
    kept = _kept_verdicts(store, model, numbers)
    found = in_parallel(lambda number: _readable(store, model, number, kept), numbers)
    return [version for version in found if version is not None]


def _readable(store: Store, model: str, number: int, kept: Mapping[int, Sequence[int]]) -> Version | None:
    try:
        return Version(manifest(store, model, number), _last_verdict(store, model, number, kept))
    except NotFound:  # it was pruned meanwhile
        return None
    except Corrupt as error:
        log.warning("%s The version is passed over.", error)
        return None


def version(store: Store, model: str, number: int) -> Version:
    """A published version with its verdict.

    Raises:
        NotFound: there is no such version.
    """
    return Version(manifest(store, model, number), verdict(store, model, number))


def close(store: Store, model: str, number: int) -> bool:
    """Give a number up for ever; False if a version was published under it, which then stays as it is.

    The mark is created if absent, under the manifest's own key: of a publisher and a run that closes its number one
    wins, and the other finds out.
    """
    return store.create(keys.manifest_key(model, number), _CLOSED)


def discard(store: Store, model: str, number: int) -> bool:
    """Close a number and delete the files that were sent under it; False if a version was published under it.

    The claim stays: a number is never used twice.
    """
    if not close(store, model, number):
        return False
    files = store.delete_all(keys.version_prefix(model, number))
    store.delete(keys.signature_key(model, number))
    log.info("%s: number %d is closed, %d files of it deleted", model, number, files)
    return True


def withdraw(store: Store, model: str, number: int) -> None:
    """Delete a published version: it ceases to exist in one step, and then its files are deleted.

    In that step the mark of a closed number replaces the manifest. If this is interrupted, `discard_abandoned` goes on.
    """
    store.put(keys.manifest_key(model, number), _CLOSED)
    discard(store, model, number)


def abandoned_claims(store: Store, model: str, grace: float) -> list[int]:
    """Numbers claimed more than `grace` seconds ago (by the store's clock) without a version, ascending."""
    claims = _claims(store, model)
    decided = _decided(store, model)
    return sorted(n for n, age in claims.items() if age >= grace and n not in decided)


def discard_abandoned(store: Store, model: str, grace: float) -> list[int]:
    """Discard each number whose publisher seems to have died, and what a late one left since; the numbers, ascending.

    Idempotent. A publisher that is only slow loses nothing but its number: it finds out when it writes its manifest.
    One that had just written it keeps its version.
    """
    abandoned = set(abandoned_claims(store, model, grace))
    closed = {n for n, is_open in _decided(store, model).items() if not is_open}
    left = {n for n in closed & _folders(store, model) if store.keys(keys.version_prefix(model, n))}
    return [n for n in sorted(abandoned | left) if discard(store, model, n)]


def _manifest_bytes(store: Store, model: str, version: int) -> bytes:
    data = store.find(keys.manifest_key(model, version))
    if data:
        return data
    there = published(store, model)
    known = f"Published: {', '.join(map(str, there))}." if there else "It has no published version."
    gone = "was deleted, or never published" if data == _CLOSED else "does not exist"
    raise NotFound(f"Version {version} of model {model!r} {gone}. {known}")


def parsed(store: Store, model: str, version: int, data: bytes) -> Manifest:
    """The manifest in these bytes, which lay where that of this version lies.

    Raises:
        Corrupt: it is not one, or that of another version.
    """
    key = keys.manifest_key(model, version)
    found = Manifest.from_json(data, store.uri(key))
    if (found.model, found.version) != (model, version):
        raise Corrupt(
            f"{store.uri(key)} is the manifest of {found.model} {found.version}, not of {model} {version}: "
            "it was copied there by hand. Publish the version again under a new number."
        )
    return found


def _claims(store: Store, model: str) -> dict[int, float]:
    """Claimed numbers, each with the seconds since."""
    prefix = keys.claims_prefix(model)
    numbers = ((keys.number_in(prefix, o.key), o.age) for o in store.objects(prefix))
    return {number: age for number, age in numbers if number is not None}


def _decided(store: Store, model: str) -> dict[int, bool]:
    """Numbers that have a manifest (True) or were closed (False)."""
    prefix = keys.manifests_prefix(model)
    numbers = ((keys.number_in(prefix, o.key), o.size) for o in store.objects(prefix))
    return {number: size > len(_CLOSED) for number, size in numbers if number is not None}


def _folders(store: Store, model: str) -> set[int]:
    """Numbers under which files lie."""
    found = store.children(keys.versions_prefix(model))
    return {int(name) for name in found if name.isascii() and name.isdecimal()}


def golden_examples(store: Store, manifest: Manifest) -> list[GoldenExample]:
    """The golden examples that were stored with the version, verified; empty if it was published without.

    Raises:
        Corrupt: they are not what was published.
    """
    entry = next((f for f in manifest.files if f.path == manifest.golden), None)
    if entry is None:
        return []
    with temporary_folder("golden") as folder:
        path = folder / "golden"
        key = keys.version_prefix(manifest.model, manifest.version) + entry.path
        if store.download(key, path) != (entry.size, entry.sha256):
            raise Corrupt(f"{store.uri(key)} is not what was published: the version cannot be validated with it.")
        return golden.read_golden(path)
