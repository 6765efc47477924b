"""What of a new version's signatures would break clients of the live one."""

import pytest

from tasks.errors import InvalidInput
from tasks.records import Manifest, SignatureSpec, TensorSpec, Training, Verdict, VerdictState
from tasks.store.base import Store
from tasks.store.keys import manifest_key
from tasks.validation.compatibility import broken, held_against, require_reason
from tasks.versions.catalog import decide

Shape = tuple[int | None, ...] | None


def spec(shape: Shape = (None, 28), gives: Shape = (None, 10), dtype: str = "float32", **more: str) -> SignatureSpec:
    """Takes `x` of `shape`, gives `y` of `gives`; `more` are inputs and outputs by name, as "takes" or "gives"."""
    added = {name: TensorSpec("float32", (None,)) for name in more}
    return SignatureSpec(
        {"x": TensorSpec(dtype, shape), **{n: t for n, t in added.items() if more[n] == "takes"}},
        {"y": TensorSpec("float32", gives), **{n: t for n, t in added.items() if more[n] == "gives"}},
    )


@pytest.mark.parametrize(
    ("live", "new"),
    [
        (spec(), spec()),
        (spec((4, 28)), spec((None, 28))),
        (spec((None, 28)), spec(None)),
        (spec(None), spec(None)),
        (spec(gives=(None, 10)), spec(gives=(4, 10))),
        (spec(gives=None), spec(gives=(None, 12))),
        (spec(z="gives"), spec(z="gives", more="gives")),
    ],
    ids=[
        "equal",
        "free batch",
        "any shape taken",
        "both any",
        "fixed batch given",
        "any was expected",
        "a third output",
    ],
)
def test_a_version_that_takes_all_and_gives_nothing_else_breaks_nobody(live: SignatureSpec, new: SignatureSpec) -> None:
    assert broken({"call": new, "another": new}, {"call": live}) == ()


@pytest.mark.parametrize(
    ("live", "new", "what"),
    [
        (spec(), spec((None, 32)), "takes 'x' as float32 [any, 32], clients send float32 [any, 28]"),
        (spec(), spec((4, 28)), "takes 'x' as float32 [4, 28], clients send float32 [any, 28]"),
        (spec(), spec((None, 28, 1)), "takes 'x' as float32 [any, 28, 1], clients send float32 [any, 28]"),
        (spec(None), spec(), "takes 'x' as float32 [any, 28], clients send float32 of any shape"),
        (spec(), spec(dtype="int32"), "takes 'x' as int32 [any, 28], clients send float32 [any, 28]"),
        (spec(), spec(mask="takes"), "asks for an input 'mask', which clients do not send"),
        (spec(mask="takes"), spec(), "takes no input 'mask'"),
        (spec(), spec(gives=(None, 12)), "gives 'y' as float32 [any, 12], clients expect float32 [any, 10]"),
        (spec(), spec(gives=(None, None)), "gives 'y' as float32 [any, any], clients expect float32 [any, 10]"),
        (spec(), spec(gives=None), "gives 'y' as float32 of any shape, clients expect float32 [any, 10]"),
        (spec(score="gives"), spec(), "gives no output 'score'"),
        (spec(), spec(score="gives"), "gives 'score' in addition, so that REST answers become objects by name"),
    ],
)
def test_what_clients_could_not_go_on_with_is_said(live: SignatureSpec, new: SignatureSpec, what: str) -> None:
    assert broken({"call": new}, {"call": live}) == (f"signature 'call' {what}",)


def test_a_signature_that_was_renamed_is_missing_and_all_that_breaks_is_said() -> None:
    assert broken({"predict": spec(), "top": spec((4, 28))}, {"call": spec(), "top": spec()}) == (
        "signature 'call' is missing",
        "signature 'top' takes 'x' as float32 [4, 28], clients send float32 [any, 28]",
    )


def manifest(version: int) -> Manifest:
    return Manifest("MLP", version, "", (), {}, None, Training())


def test_a_new_version_is_held_against_the_one_that_serves(store: Store) -> None:
    live = manifest(6)
    store.put(manifest_key("MLP", 6), live.to_json())
    assert held_against(store, manifest(7), 6) == live
    assert held_against(store, manifest(6), 6) is None
    assert held_against(store, manifest(7), None) is None
    assert held_against(store, manifest(7), 5) is None, "Slipway did not publish it"


@pytest.mark.parametrize(("state", "held"), [("accepted", False), ("retired", False), ("rejected", True)])
def test_going_back_to_what_was_accepted_is_always_possible(store: Store, state: VerdictState, held: bool) -> None:
    store.put(manifest_key("MLP", 6), manifest(6).to_json())
    decide(store, Verdict("MLP", 5, state, "a reason", "a run"))
    assert (held_against(store, manifest(5), 6) is not None) is held


def test_force_needs_a_reason() -> None:
    require_reason(None)
    require_reason("the live one leaks")
    with pytest.raises(InvalidInput, match="needs a reason"):
        require_reason("  ")
