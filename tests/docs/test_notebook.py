"""The notebook: its code is Python, its outputs are there, whole, and of any machine."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.docs.blocks import ROOT

PATH = ROOT / "docs" / "first-audit.ipynb"
CELLS = json.loads(PATH.read_text())["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
LARGEST = 700_000
"""Bytes of the file."""
ABSOLUTE = re.compile(r"(?:^|[\s\"'(=:])(?:/[\w.-]+/|[A-Z]:\\)", re.MULTILINE)


def written(cell: dict[str, Any]) -> str:
    """All text of a cell: what it says, and what it printed; not its pictures."""
    printed = ["".join(output.get("text", "")) for output in cell.get("outputs", [])]
    shown = [output.get("data", {}) for output in cell.get("outputs", [])]
    texts = ["".join(data[kind]) for data in shown for kind in data if kind.startswith("text/")]
    return "\n".join(["".join(cell["source"]), *printed, *texts])


@pytest.mark.parametrize("cell", CODE, ids=lambda cell: cell["id"])
def test_a_code_cell_is_python_and_was_run_in_order(cell: dict[str, Any]) -> None:
    compile("".join(cell["source"]), cell["id"], "exec")
    assert cell["execution_count"] == CODE.index(cell) + 1


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell["id"])
def test_no_cell_shows_an_error_a_warning_or_an_absolute_path(cell: dict[str, Any]) -> None:
    assert not [output for output in cell.get("outputs", []) if output["output_type"] == "error"]
    assert not [output for output in cell.get("outputs", []) if output.get("name") == "stderr"]
    assert not ABSOLUTE.search(written(cell))


def test_its_links_lead_to_pages() -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", "\n".join(map(written, CELLS)))
    assert links
    assert not [link for link in links if not (PATH.parent / link).exists()]


def test_an_absolute_path_is_told_from_a_relative_one() -> None:
    assert ABSOLUTE.search("read /home/ana/data")
    assert ABSOLUTE.search(r"read C:\data")
    assert not ABSOLUTE.search("data/runs/demo, 1/2, </td>, https://example.org/a/b")


def test_there_is_a_picture_and_the_file_is_small() -> None:
    pictures = [kind for cell in CODE for output in cell["outputs"] for kind in output.get("data", {})]
    assert any(kind.startswith("image/") for kind in pictures)
    assert PATH.stat().st_size < LARGEST


def test_what_it_imports_of_the_project_is_there() -> None:
    lines = "".join(line for cell in CODE for line in cell["source"] if line.startswith("from audit"))
    assert lines
    exec(lines, {})
