"""The checks that every version is put to."""

import pkgutil

from tasks.validation import checks
from tasks.validation.checks import registered
from tasks.validation.checks.base import Expected
from tests.helpers.policies import POLICY
from tests.helpers.subjects import LIVE, answering, classifying, manifest, served

WITHOUT = {"asking", "base", "registered"}  # a check


def test_every_file_of_the_folder_is_a_check_that_is_registered() -> None:
    files = {module.name for module in pkgutil.iter_modules(checks.__path__)}
    assert files - WITHOUT == set(registered.NAMES)
    assert len({check.name for check in registered.CHECKS}) == len(registered.CHECKS)


def test_all_checks_are_put_to_a_version() -> None:
    assert [f.check for f in registered.findings(served(answering([0.1, 0.1])))] == [
        *("golden answers", "golden answers", "speed", "speed")
    ]
    found = registered.findings(classifying([0, 1], [0, 1]))
    assert "held-out score" in {f.check for f in found}
    assert {f.wrong for f in found} == {None}


def test_what_will_be_asked_is_said_before_anything_is_loaded() -> None:
    assert registered.sentences(Expected(manifest(7, accuracy=0.9), POLICY, LIVE))[:3] == [
        "1 signature over REST and gRPC, whose answers may differ by 1e-05",
        "how long the answers take: 1 s at most, and 10 times as long as version 6's",
        "its accuracy on the held-out examples, which may be lower by 0.005 than when trained",
    ]
    assert registered.sentences(Expected(manifest(7), POLICY))[1:] == ["how long the answers take: 1 s at most"]
