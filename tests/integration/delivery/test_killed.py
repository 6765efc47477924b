"""A release is killed between any two of its writes, and at random, under three replicas and a client that asks on."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from flows.reconcile import reconcile
from flows.rollout import rollout
from tasks.delivery import strategies
from tasks.fleet.config import live_version
from tests.helpers.clients import Client
from tests.helpers.releases import Write
from tests.helpers.three_replicas import ThreeReplicas

pytestmark = pytest.mark.timeout(1800)

MOMENTS = 30
SEED = 20261122
FIRST_OF_THE_ROLLOUT = 10  # write to the store of a release: before it the version is published

# What both strategies write in the same way, and what each decides by itself.
COMMON = {
    "its claim": Write("/claims/"),
    "its manifest": Write("/manifests/"),
    "its place in the fleet": Write("/rollouts/"),
    "what was served before": Write("/rollouts/", 2),
}
OWN = {
    "the config of its trial": Write("/configs/"),
    "its verdict": Write("/verdicts/"),
    "the config that has it live": Write("/configs/", 2),
}
DECIDING = {"blue-green": COMMON | OWN, "labels": OWN}


@contextmanager
def undisturbed_clients(three: ThreeReplicas) -> Iterator[None]:
    """Meanwhile no request of a client fails, and none is answered by a version that is not accepted."""
    with Client(*three.replicas, labels=["stable"]).hammering() as client:
        yield
    three.require_served(client)


def serve_by_labels(three: ThreeReplicas) -> None:
    """From here on there is a label to ask for: rollouts by either strategy move it."""
    entry = three.fleet.newest().entry("affine")
    if entry is None or "stable" not in entry.version_labels:
        assert three.release(0, strategy="labels", SLIPWAY_SOAK="0").end() is None
        three.require_whole()


@pytest.mark.parametrize("strategy", DECIDING)
def test_a_release_that_dies_at_a_write_that_decides_is_finished_or_undone(
    three_replicas: ThreeReplicas, strategy: str
) -> None:
    serve_by_labels(three_replicas)
    with undisturbed_clients(three_replicas):
        for number, (moment, write) in enumerate(DECIDING[strategy].items()):
            dying = three_replicas.release(number, strategy=strategy, dies_after=write, SLIPWAY_SOAK="0.2")
            assert dying.end() == "killed", moment
            reconcile(three_replicas.fleet.name)
            three_replicas.require_whole()


@pytest.mark.soak
def test_after_a_death_at_any_write_an_accepted_version_serves_and_nothing_half_done(
    three_replicas: ThreeReplicas,
) -> None:
    ended: str | None = "killed"
    writes = 0
    with Client(*three_replicas.replicas).hammering() as client:
        while ended == "killed":
            writes += 1
            ended = three_replicas.release(writes, dies_after=Write(nth=writes)).end()
            reconcile(three_replicas.fleet.name)
            three_replicas.require_whole()
    assert ended is None
    assert writes > FIRST_OF_THE_ROLLOUT
    three_replicas.require_served(client)


@pytest.mark.soak
def test_after_a_death_of_a_release_by_labels_or_rollback_no_url_answers_wrong(
    three_replicas: ThreeReplicas,
) -> None:
    serve_by_labels(three_replicas)
    releases, rollbacks = count(FIRST_OF_THE_ROLLOUT), count(1)
    ended: str | None = "killed"
    with Client(*three_replicas.replicas, labels=["stable"]).hammering() as client:
        while ended == "killed":
            writes = next(releases)
            ended = three_replicas.release(
                writes, strategy="labels", dies_after=Write(nth=writes), SLIPWAY_SOAK="0.5"
            ).end()
            reconcile(three_replicas.fleet.name)
            three_replicas.require_whole()
        assert (ended, writes > FIRST_OF_THE_ROLLOUT + 3) == (None, True)

        newest, ended = live_version(three_replicas.fleet.newest(), "affine"), "killed"
        assert newest is not None
        while ended == "killed":
            ended = three_replicas.rollback(dies_after=Write(nth=(writes := next(rollbacks)))).end()
            reconcile(three_replicas.fleet.name)
            three_replicas.require_whole()
            if ended == "killed" and live_version(three_replicas.fleet.newest(), "affine") != newest:
                rollout("affine", newest, three_replicas.fleet.name, "labels")
        assert (ended, writes > 3) == (None, True)

        back = live_version(three_replicas.fleet.newest(), "affine")
        gone_back = len(client.answers) + 1  # one may be under way
        client.await_answers()
    assert back is not None
    assert back < newest
    promised = three_replicas.promised(back)
    assert set(client.answers[gone_back:]) == {(back, promised), (None, promised)}
    three_replicas.require_served(client)


@pytest.mark.soak
def test_a_death_at_any_moment_is_mended_by_reconcile_or_the_next_release(
    three_replicas: ThreeReplicas,
) -> None:
    moments, died = random.Random(SEED), 0
    serve_by_labels(three_replicas)
    with Client(*three_replicas.replicas, labels=["stable"]).hammering() as client:
        whole = seconds_of_a_release(three_replicas, MOMENTS)
        for number in range(MOMENTS):
            moment = moments.uniform(0, whole)
            strategy = moments.choice(strategies.known())
            told = f"release {number} of seed {SEED} by {strategy}, killed {moment:.2f} s after its start"
            dying = three_replicas.release(number, strategy=strategy, SLIPWAY_SOAK="0.5")
            dying.kill_after(moment)
            ended = dying.end()
            assert ended in ("killed", None), f"{told}: {ended}"
            died += ended == "killed"
            try:
                if number % 6 == 5:
                    whole = seconds_of_a_release(three_replicas, number)
                else:
                    reconcile(three_replicas.fleet.name)
                three_replicas.require_whole()
            except Exception as error:
                raise AssertionError(f"{told}: {error}") from error
    assert died > MOMENTS / 3  # the machine may have become faster since a whole release was timed
    three_replicas.require_served(client)


def seconds_of_a_release(three_replicas: ThreeReplicas, number: int) -> float:
    """How long a release takes that nothing disturbs."""
    release = three_replicas.release(number)
    assert release.end() is None
    return release.seconds
