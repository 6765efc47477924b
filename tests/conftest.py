"""How tests are shared out where several processes run them (`make test`), and what all of them start from."""

import signal

import pytest

pytest.register_assert_rewrite("tests.helpers.store_contract")  # tests that lie beside the helpers

# A shell starts what is in the background with SIGINT ignored, which whatever a test starts would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Fixtures of a session that are dear: the tests that use one of them share a process, and with it the one fixture.
SHARED = ("stack", "three_replicas")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use one of `SHARED` share a process; so do the tests of one file, unless a marker says otherwise."""
    groups = {item: shared(item) for item in items}
    for item, group in groups.items():
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(group or item.nodeid.partition("::")[0]))
    # What takes one process minutes begins first, and the other process does all else meanwhile.
    items.sort(key=lambda item: SHARED.index(group) if (group := groups[item]) else len(SHARED))


def shared(item: pytest.Item) -> str | None:
    """Which of `SHARED` a test uses, itself or by its other fixtures."""
    return next((name for name in SHARED if name in getattr(item, "fixturenames", ())), None)
