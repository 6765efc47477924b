"""SavedModels that were made elsewhere, scored on data as if they had been trained here."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.sources import recorded_source
from tasks.errors import InvalidData
from tasks.evaluation.metrics import evaluate, in_words
from tasks.evaluation.questions import answers_of_folder, scored_by_labels
from tasks.limits import Limits
from tasks.records import Build
from tasks.settings import Settings
from tasks.store.base import Store
from tasks.training.parameters import scoring_parameters
from tasks.training.run import read_data
from tasks.training.scoring import Examined, measured, score_of
from tasks.versions.signing import Trust

log = logging.getLogger(__name__)


def examine(
    settings: Settings, store: Store, trust: Trust, build: Build, given: Mapping[str, Any], limits: Limits | None
) -> Examined | None:
    """Score a SavedModel that was made elsewhere on held-out examples, as a trained one is; None if no data are named.

    Args:
        given: recipe, data, label and split_seed, each None if not given: then those of the model's last version, if
            that was made elsewhere, too.
        limits: what these may name; None: anything.

    Raises:
        InvalidInput: a recipe without data, or `limits` do not allow something.
        InvalidData: the data cannot be read, or no signature of the SavedModel answers its labels.
        InvalidModel, NotServable: the recipe's score, or the SavedModel, fails on the held-out examples.
    """
    chosen = scoring_parameters(store, trust, build.model, limits, **given)
    if chosen is None:
        return None
    snapshot = read_data(store, settings, chosen)
    dataset, directory = snapshot.dataset, Path(build.directory)
    scored = scored_by_labels(dataset.train, build.signatures)
    if isinstance(scored, str):
        raise InvalidData(f"{build.model} cannot be scored on {chosen.data}: {scored}.")
    answers = answers_of_folder(directory, scored, build.signatures, dataset.test.features)
    metrics = evaluate(dataset.test.labels, answers, scored.outputs).metrics()
    held_out, measure = dataset.test, None
    if chosen.recipe:
        labels, features, every = held_out.labels, held_out.features, np.arange(len(held_out))
        measure = measured(chosen.recipe, settings.project, labels, [answers], [every], features)
        metrics |= {name: float(found[0, 0]) for name, found in measure.figures.items()}
        held_out = replace(held_out, slices=measure.slices)
    log.info("%s: %d held out: %s", build.model, len(dataset.test), in_words(metrics))
    training = replace(
        build.training,
        recipe=chosen.recipe,
        data=recorded_source(chosen.data),
        label=chosen.label,
        dataset=snapshot.ref,
        scored=scored,
        metrics=metrics,
    )
    return Examined(
        replace(build, training=training),
        held_out,
        measure.gate if measure else None,
        score_of(chosen.spec, settings.project) if measure and measure.own_score else None,
    )
