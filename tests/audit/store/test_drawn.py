"""Boxes that reviewers drew: they stand in for masks where none is listed, for the classes that were drawn alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from faults.collection import camaudit
from small_run import HEIGHT, TARGETS, WIDTH, make_run

from audit.datasets import Box, Sample
from audit.datasets.objects import Objects, read_objects
from audit.drawing.targets import read_picture
from audit.errors import RunError
from audit.images.views import View
from audit.scores.scorer import Explained, Targets, score_sample
from audit.store import Run, layout
from audit.store.verdicts.drawn import leave_drawn, take_drawn
from audit.store.verdicts.log import VerdictLog

SQUARE = (8.0, 8.0, 24.0, 24.0)
SIZE = (24, 32)


@pytest.fixture
def bare(tmp_path: Path) -> Run:
    """A run of which no object is known, with a box around that of sample 0, and around nothing in sample 3."""
    run = Run.open(make_run(tmp_path, masks=False))
    log = VerdictLog.of(run)
    log.add("0:0", "agree", "Ana", box=SQUARE)
    log.add("3:0", "disagree", "Ana", box=(0, 0, 4, 4))
    log.undo("Ana")
    log.add("1:0", "disagree", "Ana")
    return run


def two_targets(objects: Objects) -> Explained:
    """Random maps of two classes."""
    maps = np.random.default_rng(3).random((2, 6, 8), np.float32)
    targets = Targets(np.arange(2), np.arange(2), np.ones(2, bool), np.array([True, False]))
    return Explained(0, SIZE, View(0, 0, 32, 24), objects, targets, maps)


def test_the_class_that_was_drawn_is_scored_as_by_a_box_and_of_others_nothing_is_known() -> None:
    mask = np.zeros(SIZE, np.int16)
    mask[2:9, 3:12] = 1
    listed = score_sample(two_targets(Objects(mask, "boxes")))
    drawn = score_sample(two_targets(Objects(mask, "boxes", only=frozenset({0}))))
    nothing = score_sample(two_targets(Objects()))
    for name, values in drawn.scores.items():
        np.testing.assert_array_equal(values[0], listed.scores[name][0], err_msg=name)
        np.testing.assert_array_equal(values[1], nothing.scores[name][1], err_msg=name)
    assert listed.scores["status"].tolist() == ["scored", "absent"]
    assert drawn.scores["status"].tolist() == ["scored", "no_mask"]
    assert len(listed.context) == 1
    assert len(drawn.context) == 0
    assert drawn.confusion is None


def test_a_class_that_nobody_drew_leaves_all_as_without_objects() -> None:
    mask = np.zeros(SIZE, np.int16)
    mask[2:9, 3:12] = 8
    drawn, nothing = (
        score_sample(two_targets(objects)) for objects in (Objects(mask, "boxes", only=frozenset({7})), Objects())
    )
    for name, values in drawn.scores.items():
        np.testing.assert_array_equal(values, nothing.scores[name], err_msg=name)
    assert len(drawn.placed) == 1


def test_what_the_manifest_lists_counts_before_what_was_drawn() -> None:
    drawn = (Box(0, *SQUARE),)
    alone = read_objects(Sample("a", "a.png", drawn=drawn), "index", (HEIGHT, WIDTH), 2)
    assert (alone.rests_on, alone.only) == ("boxes", frozenset({0}))
    assert alone.mask is not None
    assert int((alone.mask == 1).sum()) == 16 * 16
    listed = read_objects(Sample("a", "a.png", boxes=(Box(1, 0, 0, 2, 2),), drawn=drawn), "index", (HEIGHT, WIDTH), 2)
    assert listed.only is None
    assert listed.mask is not None
    assert np.unique(listed.mask).tolist() == [0, 2]
    assert read_objects(Sample("a", "a.png", mask="none.png", drawn=drawn), "index", (HEIGHT, WIDTH), 2).reason


def test_boxes_that_stand_are_taken_over_and_left_again(bare: Run) -> None:
    before = bare.record["manifest"]
    run, count = take_drawn(bare)
    assert count == 1
    assert [sample.drawn for sample in run.manifest()] == [(Box(0, *SQUARE),), *[()] * 5]
    assert [sample.drawn for sample in run.manifest(1, 3)] == [(), ()]
    assert run.record["manifest"] == before
    assert run.manifest().fingerprint == before["fingerprint"]
    VerdictLog.of(run).add("4:0", "agree", "Ben", box=SQUARE)
    assert Run.open(run.path).manifest(4, 5).drawn == {}  # until the next scoring
    run, count = take_drawn(run)
    assert count == 2
    run = leave_drawn(run)
    assert run.manifest().drawn == {}
    assert not (run.path / layout.DRAWN).exists()
    assert leave_drawn(run) is run


def test_samples_with_a_mask_take_no_box(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path))
    VerdictLog.of(run).add("0:0", "agree", "Ana", box=SQUARE)
    assert take_drawn(run)[1] == 0


def test_a_picture_outlines_what_was_drawn(bare: Run) -> None:
    run, _ = take_drawn(bare)
    sample = run.read("samples", run.shards[0]).to_pylist()[0]
    drawn = read_picture(run, sample, 0, 0).target
    assert drawn is not None
    assert drawn[10, 10]
    assert not drawn[30, 40]


def test_damage_to_the_boxes_is_told(bare: Run) -> None:
    run, _ = take_drawn(bare)
    (run.path / layout.DRAWN).write_bytes(b"")
    assert [damage.file for damage in run.damaged()] == [layout.DRAWN]
    with pytest.raises(RunError):
        run.manifest()


def test_scoring_with_verdicts_scores_against_the_boxes_and_scoring_without_leaves_them_out(
    bare: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def statuses() -> list[str]:
        run = Run.open(bare.path)
        return [row for shard in run.done() for row in run.read("scores", shard)["status"].to_pylist()]

    assert statuses() == ["no_mask"] * len(TARGETS)
    assert camaudit(["score", str(bare.path), "--verdicts", "--workers", "1"], monkeypatch) == 0
    assert "for the manifest lists none: 1\n" in capsys.readouterr().err
    assert statuses() == ["scored", *["no_mask"] * (len(TARGETS) - 1)]
    (score,) = Run.open(bare.path).read("scores", bare.shards[0]).slice(0, 1).to_pylist()
    masked = Run.open(make_run(bare.path.parent / "masked"))
    (expected,) = masked.read("scores", masked.shards[0]).slice(0, 1).to_pylist()
    same = ("energy", "area", "lift", "p_low", "p_high", "attainable", "hit")
    assert {name: score[name] for name in same} == {name: expected[name] for name in same}
    assert (score["rests_on"], score["best_iou"]) == ("boxes", None)
    assert camaudit(["score", str(bare.path), "--workers", "1"], monkeypatch) == 0
    assert statuses() == ["no_mask"] * len(TARGETS)
