"""The page that holds a run beside another one over the same images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import small_run
from pages import page, said
from streamlit.testing.v1 import AppTest

from dashboards.views.compare import sibling_runs


def html(app: AppTest) -> str:
    return "\n".join(str(block.proto.body) for block in app.get("html"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: `after` has the heat of one target on its object, `other` is over other images."""
    folder = tmp_path_factory.mktemp("runs")
    small_run.make_run(folder / "a").rename(folder / "before")
    targets = list(small_run.TARGETS)
    targets[2] = ("c", 0, 0.7, small_run.ON)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_run, "TARGETS", tuple(targets))
        small_run.make_run(folder / "b").rename(folder / "after")
        patch.setattr(small_run, "TARGETS", tuple((f"other {name}"[:20], *rest) for name, *rest in targets))
        small_run.make_run(folder / "c").rename(folder / "other")
    small_run.make_run(folder / "d", flagged=False).rename(folder / "unflagged")
    return folder


def test_only_runs_in_the_same_folder_can_be_chosen(runs: Path) -> None:
    assert list(sibling_runs(runs / "after")) == ["before", "other", "unflagged"]
    app = page("compare", runs / "after")
    assert not app.exception
    assert app.selectbox[0].options == ["before", "other", "unflagged"]
    outside = page("compare", runs / "after", other="../../etc")
    assert not outside.exception
    assert "There is no run ../../etc beside this one" in said(outside).replace("\\", "")


def test_what_changed_is_shown_with_both_maps(runs: Path) -> None:
    app = page("compare", runs / "after", other="before")
    assert not app.exception
    shown = html(app)
    assert "5 targets in both" in said(app)
    assert "square in c" in said(app)
    assert "<dt>heat elsewhere</dt><dd>100 %</dd>" in shown
    assert "indifferent → none" in shown
    assert shown.count("<img") == 2
    assert "the heat of before over the image" in shown
    assert "the heat of this run over the image" in shown


def test_targets_are_ordered_by_what_the_address_says(runs: Path) -> None:
    assert "No target changed." in said(page("compare", runs / "after", other="before", by="probability"))


def test_a_run_over_other_images_or_without_findings_is_refused_in_a_line(runs: Path) -> None:
    for other, why in {"other": "got none of", "unflagged": "has no findings yet"}.items():
        app = page("compare", runs / "after", other=other)
        assert not app.exception
        (line,) = [str(block.value) for block in app.warning]
        assert line.replace("\\", "").startswith(f"{other} cannot be held beside this run: ")
        assert why in line.replace("\\", "")


def test_images_of_the_same_names_that_are_other_files_are_refused(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "after", tmp_path / "after")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_run, "WIDTH", small_run.WIDTH + small_run.CELL)
        path = small_run.make_run(tmp_path / "x")
    path.rename(tmp_path / "before")
    app = page("compare", tmp_path / "after", other="before")
    assert not app.exception
    assert "not one of 5 images of the same name is the same file" in str(app.warning[0].value)


def test_a_run_alone_says_how_to_get_another(tmp_path: Path) -> None:
    app = page("compare", small_run.make_run(tmp_path))
    assert not app.exception
    assert "There is no other run in" in said(app)


def test_two_runs_without_masks_are_compared_by_their_heat(tmp_path: Path) -> None:
    small_run.make_run(tmp_path / "a", masks=False).rename(tmp_path / "before")
    with pytest.MonkeyPatch.context() as patch:
        targets = list(small_run.TARGETS)
        targets[2] = ("c", 0, 0.7, small_run.ON)
        patch.setattr(small_run, "TARGETS", tuple(targets))
        small_run.make_run(tmp_path / "b", masks=False).rename(tmp_path / "after")
    app = page("compare", tmp_path / "after", other="before")
    assert not app.exception
    assert "<dt>heat elsewhere</dt><dd>100 %</dd>" in html(app)
