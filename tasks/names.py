"""Names that models and fleets may have, and those that Keras gives inputs without one."""

import re

from tasks.errors import InvalidName

# A name is part of a URL path (TensorFlow Serving's `/v1/models/([^/:]+)`), in a folder name and in a key.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
CANDIDATE_SUFFIX = "-candidate"
_NUMBERED_INPUT = re.compile(r"keras_tensor(_\d+)?")


def is_name(name: str) -> bool:
    """Whether a model or a fleet may be called so."""
    return _NAME.fullmatch(name) is not None


def model_name(name: str) -> str:
    """`name`, if TensorFlow Serving could serve a model under it.

    Raises:
        InvalidName: it could not, or the name is reserved for versions on trial.
    """
    if not is_name(name):
        raise InvalidName(
            f"Model name {name!r} cannot be served in a URL: use 1 to 63 letters, digits, '_', '-' or '.', "
            "beginning with a letter or digit."
        )
    if name.endswith(CANDIDATE_SUFFIX):
        raise InvalidName(
            f"Model name {name!r} ends in {CANDIDATE_SUFFIX!r}: that is reserved for versions on trial. Choose another."
        )
    return name


def candidate_name(model: str) -> str:
    """The name that a version of `model` on trial is served under."""
    return model + CANDIDATE_SUFFIX


def fleet_name(name: str) -> str:
    """`name`, if it can be part of a key.

    Raises:
        InvalidName: it cannot.
    """
    if not is_name(name):
        raise InvalidName(f"Fleet name {name!r} cannot be part of a key: use 1 to 63 letters, digits, '_', '-' or '.'.")
    return name


def is_function(source: str) -> bool:
    """Whether a source of data names what gives it, `package.module:function`; only a process of its own calls it."""
    module, colon, function = source.partition(":")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), function])


def is_numbered_input(name: str) -> bool:
    """Whether Keras made up this name of an input: its number depends on what was built before in the process."""
    return _NUMBERED_INPUT.fullmatch(name) is not None
