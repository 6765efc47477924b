"""The example of a user's repository: installed, tested and released as its README says, by the worker too."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.store.connect import connect
from tasks.versions import catalog
from tests.helpers.installed import ROOT, build_wheel, install
from tests.helpers.local import LocalStack, until

# A stack of its own, whose worker finds the shop.
pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]


class Shop:
    """A copy of the example in a folder of its own, installed with Slipway's wheel, and the stack that is run in it."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(ROOT / "examples" / "shop", folder)
        self.folder = folder
        self.blocks = re.findall(r"^```\n(.*?)^```$", (folder / "README.md").read_text(), re.DOTALL | re.MULTILINE)
        self.programs = install(folder.with_name("venv"), build_wheel(folder.with_name("dist")), folder)
        self.stack = LocalStack(folder / ".slipway")

    def run(self, commands: str) -> str:
        """What a shell in the shop's folder prints that is given these commands, which must succeed."""
        # The store's own program lies beside the libraries that are lent.
        path = os.pathsep.join([str(self.programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-ec", commands],
            cwd=self.folder,
            env=self.stack.env | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def deployment(self, name: str) -> dict[str, Any]:
        """One of its deployments."""
        url = f"{self.stack.settings.prefect_api}/deployments/filter"
        body = {"deployments": {"name": {"any_": [name]}}}
        (found,) = self.stack.http.post(url, json=body, timeout=30).json()
        return dict(found)

    def runs(self) -> list[dict[str, Any]]:
        """The runs of its deployment that were begun by hand or by the event."""
        url = f"{self.stack.settings.prefect_api}/flow_runs/filter"
        body = {"deployments": {"name": {"any_": ["prices"]}}}
        return [run for run in self.stack.http.post(url, json=body, timeout=30).json() if not run["auto_scheduled"]]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    found = Shop(tmp_path_factory.mktemp("example") / "shop")
    yield found
    found.stack.end()


def test_its_own_test_passes_and_its_prices_are_served_and_retrained_as_its_readme_says(shop: Shop) -> None:
    first, automated, by_hand, asked = shop.blocks
    install_line, rest = first.split("\n", 1)
    assert install_line.startswith("pip install")  # done without downloading
    printed = shop.run(rest)
    assert "1 passed" in printed
    assert "Prices version 1 is accepted and serves." in printed

    shop.run(automated)
    store = connect(shop.stack.settings)
    until(lambda: len(catalog.published(store, "Prices")) == 2, "the worker publishes", 300)
    until(lambda: catalog.version(store, "Prices", 2).state == "accepted", "its version serves", 120)
    training = catalog.manifest(store, "Prices", 2).training
    assert (training.recipe, training.settings, training.label) == ("shop.prices", {"units": 64}, "price")

    until(lambda: [run["state_type"] for run in shop.runs()] == ["COMPLETED"] * 2, "the event's run ends", 300)
    assert any("Nothing new: version 2" in (run["state"]["message"] or "") for run in shop.runs())

    form = shop.deployment("by-hand")["parameter_openapi_schema"]["properties"]
    assert {name: (field["type"], field["default"]) for name, field in form.items()} == {
        "units": ("integer", 64),
        "rate": ("number", 0.05),
        "epochs": ("integer", 15),
    }
    shop.run(by_hand)
    until(lambda: len(catalog.published(store, "Prices")) == 3, "the worker publishes what the form asks for", 300)
    until(lambda: catalog.version(store, "Prices", 3).state != "published", "its rollout ends", 120)
    assert catalog.manifest(store, "Prices", 3).training.settings == {"units": 96, "rate": 0.05}
    assert '"predictions"' in shop.run(asked)
    shop.stack.down()
