"""The notebooks: their code runs over a small run; their outputs are there, whole, and of any machine."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import pytest
from claimed_run import make_claimed_run

from audit.store import Run
from audit.store.label_store import LabelStore
from pipelines.asked import Labelling
from pipelines.labels.shard import Task, label_shard
from tests.docs.blocks import ROOT

matplotlib.use("agg")

PATHS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
CELLS = {path: json.loads(path.read_text())["cells"] for path in PATHS}
ALL = [(path, cell) for path in PATHS for cell in CELLS[path]]
LARGEST = 700_000
"""Bytes of a file."""
ABSOLUTE = re.compile(r"(?:^|[\s\"'(=:])(?:/[\w.-]+/|[A-Z]:\\)", re.MULTILINE)
each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
each_cell = pytest.mark.parametrize(
    ("path", "cell"), ALL, ids=lambda part: part["id"] if isinstance(part, dict) else part.stem
)


def code_of(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in CELLS[path] if cell["cell_type"] == "code"]


def written(cell: dict[str, Any]) -> str:
    """All text of a cell: what it says, and what it printed; not its pictures."""
    printed = ["".join(output.get("text", "")) for output in cell.get("outputs", [])]
    shown = [output.get("data", {}) for output in cell.get("outputs", [])]
    texts = ["".join(data[kind]) for data in shown for kind in data if kind.startswith("text/")]
    return "\n".join(["".join(cell["source"]), *printed, *(re.sub(r"data:image/[^\"]+", "", text) for text in texts)])


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does: gives the value of its last line, if that is an expression without a semicolon."""
    parts = ast.parse(source).body
    last = parts.pop() if isinstance(parts[-1], ast.Expr) and not source.endswith(";") else None
    exec(compile(ast.Module(parts, []), "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small run, its label set and the truth, where `make demo` would leave them."""
    folder = tmp_path_factory.mktemp("project")
    drawn = make_claimed_run(folder / "drawn")
    (folder / "data" / "runs").mkdir(parents=True)
    (folder / "data" / "planted").mkdir()
    (folder / "data" / "runs" / "demo").symlink_to(drawn)
    run, asked = Run.open(drawn), Labelling()
    LabelStore.make(run, "labels", asked.record())
    for shard in run.done():
        label_shard(Task(str(run.path), "labels", asked), shard)
    cues = {"id": list("abcdef"), "class": ["square", "ring"] * 3, "cue": ["watermark", None] * 3}
    pd.DataFrame(cues).to_parquet(folder / "data" / "planted" / "truth.parquet")
    return folder


@each_notebook
def test_a_notebook_runs_and_shows_something(path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import pyplot

    monkeypatch.chdir(project)
    names: dict[str, Any] = {}
    forms: list[Callable[[], str]] = []
    for cell in code_of(path):
        value = run_cell("".join(cell["source"]), names)
        forms += [value._repr_html_] if hasattr(value, "_repr_html_") else []
    assert all("<" in form() for form in forms)
    assert len(forms) >= 2
    pyplot.close("all")


def test_a_cell_gives_the_value_of_its_last_line() -> None:
    names: dict[str, Any] = {}
    assert run_cell("a = 2\na + 1", names) == 3
    assert run_cell("a + 1;", names) is None
    assert run_cell("b = a", names) is None
    assert names["b"] == 2


@each_notebook
def test_the_code_cells_were_run_in_order(path: Path) -> None:
    assert [cell["execution_count"] for cell in code_of(path)] == list(range(1, len(code_of(path)) + 1))


@each_cell
def test_no_cell_shows_an_error_a_warning_or_an_absolute_path(path: Path, cell: dict[str, Any]) -> None:
    assert not [output for output in cell.get("outputs", []) if output["output_type"] == "error"]
    assert not [output for output in cell.get("outputs", []) if output.get("name") == "stderr"]
    assert not ABSOLUTE.search(written(cell))


@each_notebook
def test_its_links_lead_to_pages(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", "\n".join(map(written, CELLS[path])))
    assert links
    assert not [link for link in links if not (path.parent / link).exists()]


def test_an_absolute_path_is_told_from_a_relative_one() -> None:
    assert ABSOLUTE.search("read /home/ana/data")
    assert ABSOLUTE.search(r"read C:\data")
    assert not ABSOLUTE.search("data/runs/demo, 1/2, </td>, https://example.org/a/b")


@each_notebook
def test_there_is_a_picture_and_the_file_is_small(path: Path) -> None:
    shown = [output.get("data", {}) for cell in code_of(path) for output in cell["outputs"]]
    assert any("image/png" in data or "data:image/" in "".join(data.get("text/html", "")) for data in shown)
    assert path.stat().st_size < LARGEST


def test_there_are_three() -> None:
    assert [path.stem for path in PATHS] == ["audit", "claims", "labels"]
