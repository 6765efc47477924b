"""How tests are shared out where several processes run them (`make test`)."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use the local stack share a process, and with it one stack; so do tests of one file their fixtures."""
    for item in items:
        shared = "stack" if "stack" in getattr(item, "fixturenames", ()) else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(shared))
