"""The pages on how to add something: their examples work as they stand."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT

PAGES = sorted((ROOT / "docs" / "extend").glob("*.md"))
COMPLETE = ("claim", "method", "reader", "export", "refinement")
"""Pages whose examples come with their tests."""


def code(page: Path) -> str:
    """The Python of a page, block after block."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_an_example_is_python(page: Path) -> None:
    compile(code(page), page.name, "exec")


@pytest.mark.parametrize("name", COMPLETE)
def test_an_example_passes_the_tests_beside_it(name: str, tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(code(ROOT / "docs" / "extend" / f"{name}.md"), name, "exec"), names)
    tests = [value for key, value in names.items() if key.startswith("test_")]
    assert tests
    for test in tests:
        folder = tmp_path / test.__name__
        folder.mkdir()
        test(*([folder] if inspect.signature(test).parameters else []))
