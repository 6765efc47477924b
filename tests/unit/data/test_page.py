"""The page on data says what the code does."""

import re
from pathlib import Path

import pytest

from tasks.data.dataset import split
from tasks.data.given import labelled
from tasks.data.named import RESERVED
from tasks.data.sources import NAMED

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text()


@pytest.mark.parametrize(("name", "field"), RESERVED.items())
def test_every_reserved_name_is_documented(name: str, field: str) -> None:
    assert f"| `{name}` (`{field}`) |" in PAGE


@pytest.mark.parametrize("name", NAMED)
def test_every_source_with_a_name_is_documented(name: str) -> None:
    assert f"| `{name}` |" in PAGE


def test_the_example_of_a_function_can_be_loaded() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    load = names["load"]
    assert callable(load)
    parts = split("example", labelled(load("anywhere"), "load"), 0)
    assert len(parts.train) + len(parts.validation) + len(parts.test) == 1000
