"""A release is killed between any two of its writes, and at random, under three replicas and a client that asks on."""

import random
from itertools import count
from typing import get_args

import pytest

from flows.reconcile import reconcile
from flows.rollout import rollout
from tasks.fleet.config import live_version
from tasks.records import Strategy
from tests.helpers.clients import Client
from tests.helpers.three_replicas import ThreeReplicas

pytestmark = pytest.mark.timeout(1800)

FIRST_OF_THE_ROLLOUT = 10  # write to the store of a release: before it the version is published
MOMENTS = 30
SEED = 20261122
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


def test_whenever_a_release_dies_the_fleet_serves_an_accepted_version_and_nothing_half_done_is_seen(
    trio: ThreeReplicas,
) -> None:
    writes, ended = 0, "killed"
    with Client(*trio.replicas).hammering() as client:
        while ended == "killed":
            writes += 1
            ended = trio.release(writes, writes=writes).end()
            reconcile(trio.fleet.name)
            trio.require_whole()
    assert ended is None
    assert writes > FIRST_OF_THE_ROLLOUT
    trio.require_served(client)


def test_whenever_a_release_by_labels_or_a_rollback_dies_no_url_answers_with_what_is_not_accepted(
    trio: ThreeReplicas,
) -> None:
    assert trio.release(0, strategy="labels", SLIPWAY_SOAK="0").end() is None
    trio.require_whole()
    releases, rollbacks = count(FIRST_OF_THE_ROLLOUT), count(1)
    ended: str | None = "killed"
    with Client(*trio.replicas, labels=["stable"]).hammering() as client:
        while ended == "killed":
            writes = next(releases)
            ended = trio.release(writes, strategy="labels", writes=writes, SLIPWAY_SOAK="0.5").end()
            reconcile(trio.fleet.name)
            trio.require_whole()
        assert (ended, writes > FIRST_OF_THE_ROLLOUT + 3) == (None, True)

        newest, ended = live_version(trio.fleet.newest(), "affine"), "killed"
        while ended == "killed":
            ended = trio.rollback(writes=(writes := next(rollbacks))).end()
            reconcile(trio.fleet.name)
            trio.require_whole()
            if ended == "killed" and live_version(trio.fleet.newest(), "affine") != newest:
                rollout("affine", newest, trio.fleet.name, "labels")
        assert (ended, writes > 3) == (None, True)

        back, gone_back = live_version(trio.fleet.newest(), "affine"), len(client.answers) + 1  # one may be under way
        client.await_answers()
    assert back is not None
    assert back < newest
    assert set(client.answers[gone_back:]) == {(back, trio.promised(back)), (None, trio.promised(back))}
    trio.require_served(client)


def test_a_release_that_dies_at_any_moment_is_mended_by_reconcile_or_by_the_next_release(trio: ThreeReplicas) -> None:
    moments, died = random.Random(SEED), 0
    assert trio.release(0, strategy="labels", SLIPWAY_SOAK="0").end() is None
    with Client(*trio.replicas, labels=["stable"]).hammering() as client:
        whole = seconds_of_a_release(trio, MOMENTS)
        for number in range(MOMENTS):
            moment = moments.uniform(0, whole)
            strategy = moments.choice(STRATEGIES)
            told = f"release {number} of seed {SEED} by {strategy}, killed {moment:.2f} s after its start"
            dying = trio.release(number, strategy=strategy, SLIPWAY_SOAK="0.5")
            dying.kill_after(moment)
            ended = dying.end()
            assert ended in ("killed", None), f"{told}: {ended}"
            died += ended == "killed"
            try:
                if number % 6 == 5:
                    whole = seconds_of_a_release(trio, number)
                else:
                    reconcile(trio.fleet.name)
                trio.require_whole()
            except Exception as error:
                raise AssertionError(f"{told}: {error}") from error
    assert died > MOMENTS / 3  # the machine may have become faster since a whole release was timed
    trio.require_served(client)


def seconds_of_a_release(trio: ThreeReplicas, number: int) -> float:
    """How long a release takes that nothing disturbs."""
    release = trio.release(number)
    assert release.end() is None
    return release.seconds
