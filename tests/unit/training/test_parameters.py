"""What a training is made with: no model is made by a factory that was not named for it."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.stack import secrets
from tasks.errors import InvalidInput, InvalidModel, InvalidName
from tasks.limits import Limits
from tasks.records import DatasetRef, Training, Verdict, VerdictState
from tasks.settings import Settings
from tasks.store.base import Store
from tasks.training.parameters import TrainingParameters, choose_parameters
from tasks.versions import catalog
from tasks.versions.signing import Trust
from tests.helpers.saved_models import write_saved_model
from tests.helpers.versions import UNSIGNED, publish_version

Publish = Callable[..., int]
MADE_WITH = Training(
    factory="shop.models:make",
    methods={"predict": "call"},
    data="/shop/d.npz",
    seed=7,
    epochs=3,
    dataset=DatasetRef("d", "0" * 64, split_seed=5, held_out="key"),
)
AS_BEFORE = TrainingParameters(
    factory="shop.models:make",
    signatures={"predict": "call"},
    data="/shop/d.npz",
    epochs=3,
    seed=7,
    split_seed=5,
)
OF_A_RECIPE = Training(
    recipe="shop.prices", settings={"units": 8, "rate": 0.5}, data="/shop/p.csv", label="price", code_version="sha256:1"
)


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    """Of versions that are signed."""
    settings = Settings(home=tmp_path / "home")
    secrets.ensure_key_pair(settings)
    return Trust.of(settings)


@pytest.fixture
def published(store: Store, trust: Trust, tmp_path: Path) -> Publish:
    """Publishes a version that was trained so, with a verdict, and gives its number."""

    def one(training: Training, state: VerdictState | None = None, trust: Trust = trust, model: str = "Mine") -> int:
        folder = write_saved_model(tmp_path / uuid.uuid4().hex)
        number = publish_version(
            store, trust, model, folder, signatures={}, golden=None, training=training, run="test"
        ).version
        if state:
            catalog.decide(store, Verdict(model=model, version=number, state=state, reason="", run="test"))
        return number

    return one


@pytest.fixture
def limits(tmp_path: Path) -> Limits:
    """Those of a deployment's run."""
    return Limits.of(Settings(project=tmp_path), declaration=tmp_path / "prefect.yaml")


@pytest.mark.parametrize("given", [{}, {"factory": ""}, {"data": "/elsewhere/d.npz"}, {"epochs": 3}])
def test_a_model_that_was_never_made_is_not_made_by_the_demos_factory(
    store: Store, trust: Trust, limits: Limits, given: dict[str, str]
) -> None:
    for allowed in (None, limits):
        with pytest.raises(InvalidModel, match=r"Nothing says what makes model 'Mine': no version.*--recipe"):
            choose_parameters(store, trust, "Mine", allowed, **given)  # type: ignore[arg-type]


def test_the_demos_own_model_begins_with_the_demos_recipe(store: Store, trust: Trust, limits: Limits) -> None:
    for allowed in (None, limits):
        assert choose_parameters(store, trust, "MLP", allowed) == TrainingParameters("tasks.models", data="mnist-5k")


def test_a_model_is_made_as_its_last_version_was(
    store: Store, trust: Trust, limits: Limits, published: Publish
) -> None:
    published(MADE_WITH, model="MLP")
    published(MADE_WITH)
    for model in ("MLP", "Mine"):
        assert choose_parameters(store, trust, model, None) == AS_BEFORE
        assert choose_parameters(store, trust, model, limits) == AS_BEFORE  # it was allowed when it was made
    given = choose_parameters(store, trust, "Mine", None, data="e.npz", epochs=1)
    assert (given.factory, given.data, given.epochs, given.seed) == ("shop.models:make", "e.npz", 1, 7)


def test_with_a_factory_all_else_has_its_default(store: Store, trust: Trust, published: Publish) -> None:
    published(MADE_WITH)
    chosen = choose_parameters(store, trust, "Mine", None, factory="other:make", data="", seed=0)
    assert chosen == TrainingParameters(factory="other:make", data="mnist-5k", epochs=15, seed=0)
    with pytest.raises(InvalidInput, match="Nothing says what model 'Mine' is to be trained on"):
        choose_parameters(store, trust, "Mine", None, recipe="other", data="")


def test_a_recipe_its_settings_and_its_label_are_remembered(store: Store, trust: Trust, published: Publish) -> None:
    published(OF_A_RECIPE)
    chosen = choose_parameters(store, trust, "Mine", None, settings={"units": 16})
    assert (chosen.spec, chosen.data, chosen.label) == ("shop.prices", "/shop/p.csv", "price")
    assert chosen.settings == {"units": 16, "rate": 0.5}
    other = choose_parameters(store, trust, "Mine", None, recipe="shop.rents", data="mnist", settings={"units": 16})
    assert (other.spec, other.label, other.settings) == ("shop.rents", None, {"units": 16})


@pytest.mark.parametrize(
    ("recipe", "factory", "message"),
    [
        ("shop.prices", "shop.prices:make", "Both a recipe, 'shop.prices', and a factory"),
        ("shop.prices:make", None, "A recipe is a module: give 'shop.prices', or 'shop.prices:make' as a factory"),
    ],
)
def test_what_makes_a_model_is_named_once(
    store: Store, trust: Trust, recipe: str, factory: str | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        choose_parameters(store, trust, "Mine", None, recipe=recipe, factory=factory, data="mnist")


def test_the_last_accepted_version_counts_before_later_ones(store: Store, trust: Trust, published: Publish) -> None:
    published(MADE_WITH)
    published(Training(factory="newest:make", data="mnist"), "rejected")
    assert choose_parameters(store, trust, "Mine", None).factory == "newest:make"
    published(Training(factory="accepted:make", data="mnist"), "accepted")
    published(MADE_WITH, "retired")
    published(MADE_WITH, "rejected")
    published(MADE_WITH)
    assert choose_parameters(store, trust, "Mine", None).factory == "accepted:make"


def test_a_model_that_was_made_elsewhere_is_not_trained(store: Store, trust: Trust, published: Publish) -> None:
    published(MADE_WITH, "accepted")
    number = published(Training(), "accepted")
    with pytest.raises(InvalidModel, match=rf"Version {number} of model 'Mine' is a SavedModel .* made elsewhere"):
        choose_parameters(store, trust, "Mine", None)


def test_data_that_was_not_recorded_is_asked_for(store: Store, trust: Trust, published: Publish) -> None:
    published(Training(factory="shop.models:make", dataset=MADE_WITH.dataset))
    with pytest.raises(InvalidInput, match=r"Nothing says what model 'Mine' is to be trained on.*--data"):
        choose_parameters(store, trust, "Mine", None)
    assert choose_parameters(store, trust, "Mine", None, data="mnist").data == "mnist"
    published(Training(factory="shop.models:make", dataset=DatasetRef("mnist-5k", "0" * 64, 0, "key")))
    assert choose_parameters(store, trust, "Mine", None).data == "mnist-5k"


def test_what_a_deployments_run_names_itself_is_limited(
    store: Store, trust: Trust, limits: Limits, published: Publish, tmp_path: Path
) -> None:
    published(MADE_WITH)
    with pytest.raises(InvalidInput, match="SLIPWAY_FACTORIES"):
        choose_parameters(store, trust, "Mine", limits, factory="os:abort", data="/etc/d.npz")
    with pytest.raises(InvalidInput, match="SLIPWAY_DATA_ROOTS"):
        choose_parameters(store, trust, "Mine", limits, data="/etc/d.npz")
    (tmp_path / "d.npz").touch()
    assert choose_parameters(store, trust, "Mine", limits, data="d.npz").data == str(tmp_path / "d.npz")
    assert choose_parameters(store, trust, "Mine", limits, data="mnist").data == "mnist"
    with pytest.raises(InvalidInput, match="SLIPWAY_FACTORIES"):
        choose_parameters(store, trust, "Mine", limits, data="os:listdir")
    assert choose_parameters(store, trust, "Mine", limits, data="tasks.models:load").data == "tasks.models:load"
    with pytest.raises(InvalidInput, match=r"lies in no bucket .*\(s3://slipway/\).*SLIPWAY_DATA_ROOTS"):
        choose_parameters(store, trust, "Mine", limits, data="s3://other/d.csv")
    assert choose_parameters(store, trust, "Mine", limits, data="s3://slipway/d.csv").data == "s3://slipway/d.csv"


def test_what_an_unsigned_version_names_is_limited_too(store: Store, limits: Limits, published: Publish) -> None:
    published(MADE_WITH, trust=UNSIGNED)
    with pytest.raises(InvalidInput, match="SLIPWAY_FACTORIES"):
        choose_parameters(store, UNSIGNED, "Mine", limits)
    published(Training(factory="tasks.models:mlp", data="/etc/d.npz"), trust=UNSIGNED)
    with pytest.raises(InvalidInput, match="SLIPWAY_DATA_ROOTS"):
        choose_parameters(store, UNSIGNED, "Mine", limits)
    assert choose_parameters(store, UNSIGNED, "Mine", None).factory == "tasks.models:mlp"


def test_a_run_without_a_model_says_what_an_event_must_name(store: Store, trust: Trust) -> None:
    with pytest.raises(InvalidInput, match=r"names no model\. An event"):
        choose_parameters(store, trust, "", None)
    with pytest.raises(InvalidName):
        choose_parameters(store, trust, "no/name", None, factory="a:b")
