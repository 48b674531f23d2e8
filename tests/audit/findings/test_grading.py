"""Shortcuts planted in the stored heat of a run: what is moved, and what is then found."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from drawn_run import CLASSES, MARKED, draw_run
from made_evidence import draw_evidence

from audit.datasets import Manifest, Sample
from audit.errors import RunError
from audit.findings import Rules
from audit.findings.evidence.frame import bits_as_cells
from audit.findings.grading import DRAWN, Grading, grade_run, plant_shortcut
from audit.findings.judge import flag
from audit.findings.painted import Painted, read_evidence
from audit.progress import Advanced, Event, silent
from audit.store import Run

CLASS, OTHER = "class 07", f"class {MARKED:02d}"
KINDS = {"class", "spot", "zone"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    drawn = draw_run(tmp_path_factory.mktemp("graded") / "run", 1200)
    flag(drawn, Rules())
    return drawn


def test_a_shortcut_moves_most_of_the_heat_of_those_planted_and_of_no_others() -> None:
    evidence = draw_evidence(40, 4, per_image=1)
    rows, place = np.array([3, 17, 30]), np.array([54, 55, 62, 63])
    planted = plant_shortcut(evidence, rows, place)
    for row in range(len(evidence)):
        before, after = (part.off_heat[row].astype(float) for part in (evidence, planted))
        if row in rows:
            expected = [(1 - DRAWN) * before[cell] + (DRAWN / 4 if cell in place else 0) for cell in range(64)]
            free = bits_as_cells(evidence.clear[[row]])[0][place].sum() >= 2
            assert planted.off[row] == (evidence.off[row] or free)
        else:
            expected = before
            assert planted.off[row] == evidence.off[row]
        np.testing.assert_allclose(after, expected, atol=1e-3)


def test_what_is_planted_is_found_the_more_often_the_more_images_it_comes_in_and_near_the_formula(run: Run) -> None:
    told: list[Event] = []
    graded = grade_run(run, Grading((CLASS,), draws=20), told.append)
    assert {row.kind for row in graded.grades} == KINDS
    assert not graded.left_out
    for row in graded.grades:
        found = list(row.found.values())
        assert found == sorted(found)
        assert found[0] < 0.5 < found[-1] == 1
        assert row.certified is not None
        assert row.least is not None
        assert row.least == pytest.approx(row.certified, abs=0.15)
    assert sum(event.done for event in told if isinstance(event, Advanced)) >= 3 * 20


def test_the_same_seed_gives_the_same_and_nothing_is_written(run: Run) -> None:
    files = {path: path.stat().st_mtime_ns for path in Path(run.path).rglob("*")}
    asked = Grading((CLASS,), shares=(0.25, 0.35, 0.45, 0.55), draws=8)
    first, again, other = (grade_run(run, a).record() for a in (asked, asked, Grading((CLASS,), asked.shares, 8, 1)))
    assert first == again
    assert first["grades"] != other["grades"]
    assert {path: path.stat().st_mtime_ns for path in Path(run.path).rglob("*")} == files


def test_a_class_with_a_claim_is_left_out_and_why_is_said(run: Run) -> None:
    graded = grade_run(run, Grading((OTHER,), draws=2))
    assert not graded.grades
    assert len(graded.left_out) == 3
    assert all(text.startswith(f"{OTHER}, ") and text.endswith("a claim stands already") for text in graded.left_out)


def test_without_masks_only_places_are_graded(tmp_path: Path) -> None:
    drawn = draw_run(tmp_path / "run", 600, masked=0.0)
    flag(drawn, Rules())
    graded = grade_run(drawn, Grading((CLASS,), shares=(0.5, 1.0), draws=2))
    assert {row.kind for row in graded.grades} == KINDS - {"class"}
    assert graded.left_out == [f"{CLASS}, the whole class: no object is known"]


def test_of_very_many_other_images_some_stand_for_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.findings.grading.OTHERS", 300)
    graded = grade_run(run, Grading((CLASS,), draws=4))
    assert all(row.found[1.0] == 1 for row in graded.grades)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same samples, with a mark in half of the images of the class."""
    drawn = draw_run(tmp_path_factory.mktemp("painted") / "run", 1200, marked=(MARKED, CLASSES.index(CLASS)))
    flag(drawn, Rules())
    return drawn


def test_of_painted_samples_the_model_was_asked_so_no_heat_is_moved(run: Run, painted: Run) -> None:
    asked = Grading((CLASS,), shares=(0.1, 0.5, 1.0), draws=10)
    graded = grade_run(run, asked, painted=painted)
    (said,) = graded.painted
    off, marked = map(int, re.fullmatch(rf"{CLASS}: of \d+ images (\d+) look .*, (\d+) painted; .*", said).groups())
    assert 4 * off < marked
    spot = next(row for row in graded.grades if row.kind == "spot")
    assert spot.found[0.1] == 0  # of 60 images 3 have the mark then
    assert spot.found[1.0] == 1
    assert graded.record()["grades"] != grade_run(run, asked).record()["grades"]


def test_a_painted_sample_brings_all_that_its_map_says(run: Run, painted: Run) -> None:
    before, _ = read_evidence(run, Rules(), silent)
    after, _ = read_evidence(painted, Rules(), silent)
    rows = np.flatnonzero(before.class_id == CLASSES.index(CLASS))[:30]
    shown = Painted.of(run, painted, Rules(), silent).show(before, rows)
    np.testing.assert_array_equal(shown.off_heat[rows], after.off_heat[rows])
    np.testing.assert_array_equal(shown.off[rows], after.off[rows])
    rest = np.setdiff1d(np.arange(len(before)), rows)
    np.testing.assert_array_equal(shown.off_heat[rest], before.off_heat[rest])
    assert (shown.off_heat[rows] != before.off_heat[rows]).any()


def test_samples_that_were_not_painted_stay_and_strangers_are_refused(run: Run, tmp_path: Path) -> None:
    fewer = draw_run(tmp_path / "fewer", 256)
    flag(fewer, Rules())
    twins, (evidence, _) = Painted.of(run, fewer, Rules(), silent), read_evidence(run, Rules(), silent)
    there = twins.at(evidence, np.arange(len(evidence)))
    np.testing.assert_array_equal(there >= 0, evidence.sample < 256)
    other = Run.create(
        tmp_path / "other", Manifest.from_samples([Sample("x", "x.jpg", (0,))], ("a",)), dict(run.record)
    )
    with pytest.raises(RunError, match="a painted run with the classes of"):
        Painted.of(run, other, Rules(), silent)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"shares": ()}, "shares above 0 and up to 1, got none"),
        ({"shares": (0.0, 0.5)}, "shares above 0"),
        ({"shares": (0.5, 1.5)}, "shares above 0"),
        ({"shares": (0.5, 0.2)}, "ascending shares"),
        ({"shares": (float("nan"),)}, "shares above 0"),
        ({"draws": 0}, "at least one draw"),
        ({"seed": -1}, "a seed from 0 on"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Grading(**asked)


def test_a_class_that_the_run_has_not_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="a class of the run, got unicorn"):
        grade_run(run, Grading(("unicorn",)))
