"""Whether clients of the live version could ask a new one in the same way."""

from collections.abc import Iterable, Mapping, Sequence

from tasks.errors import InvalidInput, NotFound
from tasks.records import Manifest, SignatureSpec, TensorSpec
from tasks.store.base import Store
from tasks.versions import catalog


def broken(new: Mapping[str, SignatureSpec], live: Mapping[str, SignatureSpec]) -> tuple[str, ...]:
    """What breaks for clients of the signatures `live` if `new` takes their place, each in words.

    A new version may have more signatures, and accept more; its outputs must be those of the live one.
    """
    found: list[str] = []
    for name, old in sorted(live.items()):
        if name in new:
            found += (f"signature {name!r} {what}" for what in _broken_in(new[name], old))
        else:
            found.append(f"signature {name!r} is missing")
    return tuple(found)


def _broken_in(new: SignatureSpec, old: SignatureSpec) -> Iterable[str]:
    yield from (f"takes no input {name!r}" for name in sorted(old.inputs.keys() - new.inputs.keys()))
    yield from (
        f"asks for an input {name!r}, which clients do not send"
        for name in sorted(new.inputs.keys() - old.inputs.keys())
    )
    for name in sorted(old.inputs.keys() & new.inputs.keys()):
        sent, taken = old.inputs[name], new.inputs[name]
        if taken.dtype != sent.dtype or not _takes(taken.shape, sent.shape):
            yield f"takes {name!r} as {_in_words(taken)}, clients send {_in_words(sent)}"
    yield from (f"gives no output {name!r}" for name in sorted(old.outputs.keys() - new.outputs.keys()))
    for name in sorted(old.outputs.keys() & new.outputs.keys()):
        expected, given = old.outputs[name], new.outputs[name]
        if given.dtype != expected.dtype or not _takes(expected.shape, given.shape):
            yield f"gives {name!r} as {_in_words(given)}, clients expect {_in_words(expected)}"
    added = sorted(new.outputs.keys() - old.outputs.keys())
    if len(old.outputs) == 1 and added:
        # TensorFlow Serving's REST API leaves the name out where there is one output (api_rest.md, Predict API).
        yield f"gives {', '.join(map(repr, added))} in addition, so that REST answers become objects by name"


def _takes(wide: Sequence[int | None] | None, narrow: Sequence[int | None] | None) -> bool:
    """Whether every shape that fits `narrow` fits `wide` too; None: any size, or any shape."""
    if wide is None:
        return True
    if narrow is None or len(narrow) != len(wide):
        return False
    return all(w is None or w == n for w, n in zip(wide, narrow, strict=True))


def _in_words(tensor: TensorSpec) -> str:
    if tensor.shape is None:
        return f"{tensor.dtype} of any shape"
    return f"{tensor.dtype} [{', '.join('any' if size is None else str(size) for size in tensor.shape)}]"


def held_against(store: Store, new: Manifest, live: int | None) -> Manifest | None:
    """The live version's manifest, if `new` must prove itself against it before it takes its place.

    None if no version serves, or one that Slipway did not publish; and if `new` was accepted before, since a rollback
    must always be possible.
    """
    if live in (None, new.version):
        return None
    verdict = catalog.verdict(store, new.model, new.version)
    if verdict is not None and verdict.state in ("accepted", "retired"):
        return None
    try:
        return catalog.manifest(store, new.model, live) if live is not None else None
    except NotFound:
        return None


def require_reason(reason: str | None, option: str = "--force") -> None:
    """Raise if `option`, such as that which forces something, was given without a reason.

    Raises:
        InvalidInput: the reason is empty.
    """
    if reason is not None and not reason.strip():
        raise InvalidInput(f"{option} needs a reason, which is kept with the version: {option} 'why it must go out'.")
