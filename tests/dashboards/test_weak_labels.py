"""The sample's page with label sets: side by side, at one threshold; in each state."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.collection import finished
from pages import page, said
from streamlit.testing.v1 import AppTest

from audit.drawing.labels import read_label
from audit.store import Run
from audit.store.label_store import LabelStore
from pipelines.asked import Labelling
from pipelines.labels.shard import Task, label_shard


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of two shards; `plain` is whole, `half` has the first alone."""
    run = finished(tmp_path_factory.mktemp("labelled"), 8).run
    for name, steps, shards in (("plain", "", 2), ("half", "superpixel", 1)):
        LabelStore.make(run, name, Labelling(steps).record())
        for shard in run.done()[:shards]:
            label_shard(Task(str(run.path), name, Labelling(steps)), shard)
    return run


def labels(path: Path, at: str) -> AppTest:
    """The page of a target with its label sets."""
    app = page("review", path, at=at)
    return app.segmented_control[0].set_value("Weak labels").run()


def test_each_label_set_says_how_it_was_made_and_the_slider_moves_them_all(run: Run) -> None:
    app = labels(run.path, "0:0")
    assert not app.exception
    assert "plain: not refined" in said(app)
    assert "half: superpixel" in said(app)
    slider = next(slider for slider in app.slider if slider.label == "Threshold of the labels")
    slider.set_value(1.0).run()
    assert said(app).count("background alone") == sum(shares(run, name, 1.0) == 0 for name in ("plain", "half"))
    slider.set_value(0.0).run()
    assert said(app).count("100%") >= 2


def shares(run: Run, name: str, threshold: float) -> float:
    """Share of sample 0 that is no background at a threshold."""
    mask = read_label(run, name, 0).mask_at(threshold, (40, 48))
    assert mask is not None
    return float((mask > 0).mean())


def test_a_sample_that_a_label_set_has_not_reached_says_so(run: Run) -> None:
    app = labels(run.path, "5:0")
    assert not app.exception
    assert "not made yet; go on with" in said(app)


def test_a_damaged_label_set_costs_its_own_panel(tmp_path: Path) -> None:
    run = finished(tmp_path, 4).run
    for name in ("plain", "broken"):
        LabelStore.make(run, name, Labelling().record())
        label_shard(Task(str(run.path), name, Labelling()), run.done()[0])
    (part,) = (run.path / "labels" / "broken" / "images").glob("*.parquet")
    part.write_bytes(part.read_bytes()[:-9])
    app = labels(run.path, "0:0")
    assert not app.exception
    assert "plain: not refined" in said(app)
    assert any("Damaged" in warning.value or "Cannot read" in warning.value for warning in app.warning)


def test_without_label_sets_the_page_says_how_to_make_one(tmp_path: Path) -> None:
    assert "camaudit labels" in said(labels(finished(tmp_path, 4).run.path, "0:0"))
