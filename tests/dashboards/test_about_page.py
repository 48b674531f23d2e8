"""The page about a run: checks, provenance, figures, downloads; full, and where there is little to say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pages import page, said
from PIL import Image
from run_states import STATES
from small_run import FAILURE, make_run
from streamlit.testing.v1 import AppTest

from audit.store import Run, layout
from audit.store.storage.files import write_json
from dashboards.state import open_context
from dashboards.views import about


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("finished"))


def html(app: AppTest) -> str:
    return "\n".join(str(block.proto.body) for block in app.get("html"))


def test_it_says_what_findings_rest_on_what_was_audited_and_what_failed(run_path: Path) -> None:
    app = page("about", run_path)
    assert not app.exception
    assert "6 of 6 images have masks" in said(app)
    assert "Whether the maps change when the network is made random was not checked." in said(app)
    run = Run.open(run_path)
    for fact in ("by hand", run.record["manifest"]["fingerprint"], "gradcam", "scored targets"):
        assert fact in html(app) + said(app)
    assert "<dd>6 <small>5 processed, 1 failed</small>" in html(app)
    assert app.dataframe[-1].value.to_dict("records") == [{"id": "f", "reason": FAILURE}]


def test_a_check_is_told_with_its_picture(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    (path / layout.REPORT).mkdir(exist_ok=True)
    write_json(path / layout.REPORT / layout.SANITY, {"methods": {"gradcam": {"half": 0.81, "passes": False}}})
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path / layout.REPORT / "sanity.png")
    app = page("about", path)
    assert not app.exception
    assert "trust none of the findings" in said(app)
    assert len(app.get("image")) == 1


def test_a_check_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    (path / layout.REPORT).mkdir(exist_ok=True)
    (path / layout.REPORT / layout.SANITY).write_text("{")
    app = page("about", path)
    assert not app.exception
    assert "cannot be read" in said(app)


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_a_run_has_the_page(tmp_path: Path, state: str) -> None:
    app = page("about", STATES[state](tmp_path))
    assert not app.exception
    assert "What was audited" in said(app)


def test_without_masks_it_says_so_and_draws_no_curve(tmp_path: Path) -> None:
    app = page("about", make_run(tmp_path, masks=False))
    assert "0 of 6 images have masks" in said(app)
    assert "Pseudo-masks" not in said(app)


def test_downloads_are_what_the_verbs_write(run_path: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_path, run)
    files = about._downloads(open_context(run, "Ana"))
    assert set(files) == {"findings.csv", "findings.json", layout.SUMMARY, layout.MANIFEST}
    assert files["findings.csv"]().startswith(b'"finding_id",')
    assert json.loads(files["findings.json"]())["run"]
    assert json.loads(files[layout.SUMMARY]())["basis"]["images"] == 6
    (run / layout.REPORT).mkdir(exist_ok=True)
    (run / layout.REPORT / layout.PAGE).write_text("<html>")
    assert about._downloads(open_context(run, "Ana"))["report.html"]() == b"<html>"
