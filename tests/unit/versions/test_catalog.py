"""A version exists once its manifest does; a number whose publisher died is closed, never reused."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from infra.stack import secrets
from tasks.errors import Corrupt, NotFound, SignatureInvalid
from tasks.records import Manifest, Training, Verdict
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.base import Store
from tasks.versions import catalog, publish
from tasks.versions.signing import Trust
from tests.helpers.saved_models import write_saved_model
from tests.helpers.versions import UNSIGNED, claimed_numbers, publish_version


def published(
    store: Store, folder: Path, weights: bytes = b"weights", model: str = "MLP", trust: Trust = UNSIGNED
) -> Manifest:
    """A version of `model` with these weights."""
    directory = write_saved_model(folder / f"{model}-{weights.decode()}", weights)
    return publish_version(store, trust, model, directory, signatures={}, golden=None, training=Training(), run="test")


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    """Versions are signed, and must be."""
    settings = Settings(home=tmp_path / "home")
    secrets.ensure_key_pair(settings)
    return Trust.of(settings)


def test_a_claimed_number_is_no_version_until_its_manifest_is_there(store: Store, tmp_path: Path) -> None:
    assert publish.claim_number(store, "MLP", "a run") == 1
    assert catalog.published(store, "MLP") == []
    assert claimed_numbers(store, "MLP") == [1]
    with pytest.raises(NotFound, match=r"Version 1 of model 'MLP' does not exist\. It has no published version"):
        catalog.manifest(store, "MLP", 1)
    assert published(store, tmp_path).version == 2
    assert catalog.published(store, "MLP") == [2]
    with pytest.raises(NotFound, match="Published: 2"):
        catalog.manifest(store, "MLP", 1)


def test_two_claims_of_one_run_are_two_numbers(store: Store) -> None:
    assert [publish.claim_number(store, "MLP", "same run") for _ in range(3)] == [1, 2, 3]


def test_a_number_under_which_someone_else_put_files_is_not_taken(store: Store) -> None:
    store.put("models/MLP/41/saved_model.pb", b"copied here by another tool")
    assert publish.claim_number(store, "MLP", "a run") == 42


def test_a_verdict_is_the_last_that_was_decided(store: Store, tmp_path: Path) -> None:
    published(store, tmp_path)
    assert catalog.version(store, "MLP", 1).state == "published"
    for state in ("accepted", "retired"):
        catalog.decide(store, Verdict(model="MLP", version=1, state=state, reason="", run="r"))
    assert catalog.version(store, "MLP", 1).state == "retired"


def test_a_verdict_is_never_put_over_another_nor_kept_twice(store: Store, tmp_path: Path) -> None:
    published(store, tmp_path)
    every = [Verdict("MLP", 1, "accepted", "right", "run", fleet=name) for name in ("a", "b")]
    every.append(Verdict("MLP", 1, "rejected", "wrong", "another run", fleet="b"))
    for verdict in every:
        catalog.decide(store, verdict)
        catalog.decide(store, replace(verdict, time=verdict.time + timedelta(hours=1)))  # as after an answer was lost
    assert len(store.keys(keys.verdicts_prefix("MLP"))) == len(every)
    assert catalog.verdict(store, "MLP", 1) == every[-1]
    assert [catalog.verdict_by(store, "MLP", 1, v.run, v.fleet or "") for v in every] == every
    assert catalog.verdict_by(store, "MLP", 1, "another run", "a") is None


def test_of_two_who_decide_at_once_both_are_heard_and_the_later_asks_once_more_whether_it_may(
    store: Store, tmp_path: Path
) -> None:
    published(store, tmp_path)
    other = Verdict("MLP", 1, "accepted", "it serves", "the run that took over")
    asked = []

    def stopped_for_a_while() -> None:
        asked.append(1)
        if len(asked) == 1:
            catalog.decide(store, other)

    late = Verdict("MLP", 1, "published", "it took too long", "the run that was stopped")
    catalog.decide(store, late, stopped_for_a_while)
    assert len(asked) == 2
    assert catalog.verdict(store, "MLP", 1) == late
    assert catalog.verdict_by(store, "MLP", 1, other.run, "any") == other


def test_verdicts_that_are_odd_lost_or_absurd_keep_no_other_from_being_decided(store: Store, tmp_path: Path) -> None:
    published(store, tmp_path)
    first, third, last = (Verdict("MLP", 1, "accepted", reason, "run") for reason in ("first", "third", "last"))
    catalog.decide(store, first)
    store.create(keys.verdict_key("MLP", 1, 3), third.to_json())  # the second was removed by hand
    for absurd in ("1.999999999.json", "1.9999999999.json", "1.01.json", "1.0.json", "1.1.json", "999.5000.json"):
        store.put(f"{keys.verdicts_prefix('MLP')}{absurd}", b'"absurd"')
    assert catalog.verdict(store, "MLP", 1) == third
    assert catalog.verdict_by(store, "MLP", 1, "nobody", "any") is None
    catalog.decide(store, last)
    assert catalog.verdict(store, "MLP", 1) == last
    assert [v.verdict for v in catalog.versions(store, "MLP")] == [last]


def test_more_verdicts_than_ten_have_an_order_and_those_of_other_versions_do_not_count(
    store: Store, tmp_path: Path
) -> None:
    for weights in range(11):
        published(store, tmp_path, b"%d" % weights)
    for number in range(12):
        for version in (1, 10, 11):
            catalog.decide(store, Verdict("MLP", version, "accepted", f"{number}", "run"))
    store.put(f"{keys.verdicts_prefix('MLP')}1.013.json", b"{")
    store.put(f"{keys.verdicts_prefix('MLP')}1.json.bak", b"{")
    assert [v.verdict and v.verdict.reason for v in catalog.versions(store, "MLP")] == ["11", *[None] * 8, "11", "11"]
    assert [v and v.reason for v in catalog.verdicts(store, "MLP", [10, 2])] == ["11", None]


def test_a_claim_older_than_the_grace_time_without_a_version_is_abandoned(store: Store, tmp_path: Path) -> None:
    publish.claim_number(store, "MLP", "died")
    published(store, tmp_path)
    assert catalog.abandoned_claims(store, "MLP", grace=3600) == []
    assert catalog.abandoned_claims(store, "MLP", grace=-60) == [1]


def test_what_an_abandoned_number_left_is_deleted_but_its_claim_stays(store: Store, tmp_path: Path) -> None:
    number = publish.claim_number(store, "MLP", "died")
    store.put(keys.version_prefix("MLP", number) + "variables/half", b"...")
    store.put(keys.signature_key("MLP", number), b"...")
    published(store, tmp_path)
    assert catalog.discard_abandoned(store, "MLP", grace=3600) == []
    assert catalog.discard_abandoned(store, "MLP", grace=-60) == [1]
    assert catalog.discard_abandoned(store, "MLP", grace=-60) == []
    assert store.keys(keys.version_prefix("MLP", 1)) == []
    assert store.find(keys.signature_key("MLP", 1)) is None
    assert claimed_numbers(store, "MLP") == [1, 2]
    assert catalog.published(store, "MLP") == [2]
    with pytest.raises(NotFound, match="was deleted, or never published"):
        catalog.manifest(store, "MLP", 1)
    assert published(store, tmp_path, b"next").version == 3


def test_what_a_slow_publisher_sent_after_its_number_was_closed_is_deleted_too(store: Store) -> None:
    number = publish.claim_number(store, "MLP", "slow")
    catalog.discard_abandoned(store, "MLP", grace=-60)
    store.put(keys.version_prefix("MLP", number) + "late", b"...")
    assert catalog.discard_abandoned(store, "MLP", grace=3600) == [number]
    assert store.keys(keys.version_prefix("MLP", number)) == []


def test_a_published_version_is_never_discarded(store: Store, tmp_path: Path) -> None:
    manifest = published(store, tmp_path)
    assert not catalog.discard(store, "MLP", 1)
    assert catalog.discard_abandoned(store, "MLP", grace=-60) == []
    assert catalog.manifest(store, "MLP", 1) == manifest
    assert len(store.keys(keys.version_prefix("MLP", 1))) == len(manifest.files)


def test_files_of_another_tool_are_left_alone(store: Store) -> None:
    store.put("models/MLP/41/saved_model.pb", b"theirs")
    assert catalog.discard_abandoned(store, "MLP", grace=-60) == []
    assert store.find("models/MLP/41/saved_model.pb") == b"theirs"


def test_a_manifest_that_is_not_its_versions_is_refused(store: Store, tmp_path: Path) -> None:
    published(store, tmp_path)
    store.put(keys.manifest_key("MLP", 2), store.get(keys.manifest_key("MLP", 1)))
    store.put(keys.manifest_key("Other", 1), store.get(keys.manifest_key("MLP", 1)))
    with pytest.raises(Corrupt, match="is the manifest of MLP 1, not of MLP 2"):
        catalog.manifest(store, "MLP", 2)
    with pytest.raises(Corrupt, match="not of Other 1"):
        catalog.manifest(store, "Other", 1)


@pytest.mark.parametrize("kept", [1, 100, -2])
def test_a_cut_off_manifest_is_refused(store: Store, tmp_path: Path, kept: int) -> None:
    published(store, tmp_path)
    whole = store.get(keys.manifest_key("MLP", 1))
    store.put(keys.manifest_key("MLP", 1), whole[:kept])
    with pytest.raises(Corrupt, match=r"manifests/1\.json is not a manifest"):
        catalog.manifest(store, "MLP", 1)


def test_a_signed_version_is_trusted(store: Store, trust: Trust, tmp_path: Path) -> None:
    manifest = published(store, tmp_path, trust=trust)
    assert catalog.trusted_manifest(store, trust, "MLP", 1) == manifest


def test_a_version_published_without_a_signature_is_not_trusted(store: Store, trust: Trust, tmp_path: Path) -> None:
    published(store, tmp_path)
    assert catalog.trusted_manifest(store, UNSIGNED, "MLP", 1).version == 1
    with pytest.raises(SignatureInvalid, match="MLP version 1 is not signed"):
        catalog.trusted_manifest(store, trust, "MLP", 1)


def test_an_old_version_does_not_pass_under_a_new_number_nor_as_another_model(
    store: Store, trust: Trust, tmp_path: Path
) -> None:
    published(store, tmp_path, trust=trust)
    published(store, tmp_path, b"newer", trust=trust)
    for model, number in (("MLP", 2), ("Other", 1)):
        store.put(keys.manifest_key(model, number), store.get(keys.manifest_key("MLP", 1)))
        with pytest.raises(SignatureInvalid):
            catalog.trusted_manifest(store, trust, model, number)
        store.put(keys.signature_key(model, number), store.get(keys.signature_key("MLP", 1)))
        with pytest.raises(Corrupt, match="is the manifest of MLP 1"):
            catalog.trusted_manifest(store, trust, model, number)


def test_a_manifest_that_was_changed_after_it_was_signed_is_not_trusted(
    store: Store, trust: Trust, tmp_path: Path
) -> None:
    manifest = published(store, tmp_path, trust=trust)
    other = manifest.files[0].sha256.translate(str.maketrans("0123456789", "1234567890"))
    changed = manifest.to_json().replace(manifest.files[0].sha256.encode(), other.encode())
    store.put(keys.manifest_key("MLP", 1), changed)
    with pytest.raises(SignatureInvalid, match="changed since"):
        catalog.trusted_manifest(store, trust, "MLP", 1)


def test_a_verdict_or_manifest_that_cannot_be_read_hides_no_other_version(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for weights in (b"1", b"2", b"3"):
        published(store, tmp_path, weights)
    catalog.decide(store, Verdict("MLP", 1, "accepted", "", "run"))
    store.put(keys.manifest_key("MLP", 2), b"\xff not JSON {")
    store.put(keys.verdict_key("MLP", 3), b"[]")
    store.put("models/MLP/manifests/Stranger.json", b"{")
    assert [(v.manifest.version, v.state) for v in catalog.versions(store, "MLP")] == [
        (1, "accepted"),
        (3, "published"),
    ]
    assert [key in caplog.text for key in ("manifests/2.json", "verdicts/3.json", "Stranger")] == [True, True, False]


def test_a_folder_that_no_model_can_have_is_passed_over(store: Store, tmp_path: Path) -> None:
    published(store, tmp_path)
    for name in ("an odd, name", "-", ".hidden"):
        store.put(f"models/{name}/1/saved_model.pb", b"x")
    assert catalog.models(store) == ["MLP"]
