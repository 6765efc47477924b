"""How tests are shared out where several processes run them (`make test`), and what all of them start from."""

import signal

import pytest

# A shell starts what is in the background with SIGINT ignored, which whatever a test starts would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Fixtures of a session that are dear: the tests that use one of them share a process, and with it the one fixture.
SHARED = ("stack", "three_replicas")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use one of `SHARED` share a process; so do the tests of one file, unless a marker says otherwise."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            used = getattr(item, "fixturenames", ())
            file = item.nodeid.partition("::")[0]
            item.add_marker(pytest.mark.xdist_group(next((name for name in SHARED if name in used), file)))
