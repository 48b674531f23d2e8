"""The index of faults: every test that it names is there, and every test of this folder is named."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from shared import SHARED

TESTS = Path(__file__).resolve().parents[1]
INDEX = (TESTS / "faults/index.md").read_text()
NAMED = re.findall(r"- (\S+\.py)::(\w+)", INDEX)
FAULTS = SHARED / "design/faults.md"


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_test_that_the_index_names_is_there() -> None:
    missing = [f"{file}::{name}" for file, name in NAMED if name not in names_in(TESTS / file)]
    assert not missing


def test_every_test_of_this_folder_is_named() -> None:
    here = {
        (file.relative_to(TESTS).as_posix(), name)
        for file in (TESTS / "faults").rglob("test_*.py")
        for name in names_in(file)
        if file != Path(__file__)
    }
    assert here - set(NAMED) == set()


def test_every_fault_that_was_asked_for_has_its_row() -> None:
    if not FAULTS.is_file():
        pytest.skip(f"no list of faults at {FAULTS}")
    asked = re.findall(r"^(\d+)\. ", FAULTS.read_text(), re.MULTILINE)
    rows = dict(re.findall(r"^(\d+)\. (.*(?:\n +- .*)+)", INDEX, re.MULTILINE))
    assert [number for number in asked if "::test_" not in rows.get(number, "")] == []
