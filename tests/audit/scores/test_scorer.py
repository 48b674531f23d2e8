"""Scores gathered sample after sample: the same whether by one scorer or by several that are merged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from audit.datasets.objects import Objects
from audit.images.views import View
from audit.scores import Confusion, ConfusionPool
from audit.scores.scorer import Explained, Scored, Scorer, Targets, score_sample
from audit.store.layout import CONFUSION, CONTEXT, SCORES

SIZE = (24, 32)


def explained(row: int, rests_on: str | None = "mask") -> Explained:
    """Two targets of random maps, an object of each class and some void."""
    rng = np.random.default_rng(row)
    mask = np.zeros(SIZE, np.int16)
    mask[2:9, 3:12], mask[12:20, 15:25], mask[22:] = 1, 2, -1
    targets = Targets(np.arange(2), np.arange(2), np.array([True, row % 2 == 0]), np.array([True, False]))
    objects = Objects(mask, rests_on) if rests_on else Objects()
    return Explained(row, SIZE, View(0, 0, 32, 24), objects, targets, rng.random((2, 6, 8), np.float32))


def scored_rows(scorer: Scorer) -> dict[str, dict[str, list[Any]]]:
    return {
        table: {name: np.asarray(values).astype(str).tolist() for name, values in columns.items()}
        for table, columns in scorer.result().items()
    }


def test_an_empty_scorer_gives_every_column_of_every_table() -> None:
    tables = Scorer().result()
    for name, schema in (("scores", SCORES), ("context", CONTEXT), ("confusion", CONFUSION)):
        assert list(tables[name]) == schema.names
        assert {len(column) for column in tables[name].values()} == {0}


def test_two_scorers_merged_are_one() -> None:
    parts = [score_sample(explained(row)) for row in range(4)]
    whole, first, second = Scorer(), Scorer(), Scorer()
    for place, part in enumerate(parts):
        whole.add(part)
        (first if place < 2 else second).add(part)
    first.merge(second)
    assert scored_rows(first) == scored_rows(whole)
    assert len(whole.result()["scores"]["sample"]) == 8
    assert len(whole.result()["context"]["sample"]) == 6


def test_a_sample_without_an_object_has_cells_alone_and_boxes_are_not_counted_as_outlines() -> None:
    bare, boxed, masked = (score_sample(explained(0, basis)) for basis in (None, "boxes", "mask"))
    assert bare.scores["status"].tolist() == ["no_mask", "no_mask"]
    assert len(bare.placed) == 1
    assert (len(bare.context), bare.confusion) == (0, None)
    assert boxed.scores["status"].tolist() == ["scored", "scored"]
    assert boxed.confusion is None
    assert isinstance(masked.confusion, Confusion)


def test_pixels_are_counted_by_the_maps_of_labels_or_by_all_where_there_is_no_label() -> None:
    sample = explained(0)

    def predicted(*labels: bool) -> set[int]:
        targets = replace(sample.targets, usable=np.ones(2, bool), labels=np.array(labels))
        counted = score_sample(replace(sample, targets=targets)).confusion
        assert counted is not None
        return set(counted.predicted.tolist())

    assert (predicted(True, False), predicted(False, True)) == ({0}, {1})
    assert predicted(True, True) == predicted(False, False) == {0, 1}


def test_a_sample_without_a_usable_map_is_a_row_that_says_so() -> None:
    sample = explained(0)
    none = Targets(sample.targets.slots, sample.targets.class_ids, np.zeros(2, bool), sample.targets.labels)
    scored = score_sample(Explained(0, SIZE, sample.view, sample.objects, none, sample.maps))
    assert isinstance(scored, Scored)
    assert scored.scores["status"].tolist() == ["no_map", "no_map"]
    assert (scored.placed, scored.confusion) == ((), None)


def test_pooled_confusions_are_those_of_all_parts_whoever_held_them() -> None:
    parts = [part for row in range(4) if (part := score_sample(explained(row)).confusion)]
    first, second = ConfusionPool(), ConfusionPool()
    for place, part in enumerate(parts):
        (first if place % 2 else second).add(part)
    first.merge(second)
    expected = Confusion.merge(parts)
    for name in CONFUSION.names:
        np.testing.assert_array_equal(getattr(first.result(), name), getattr(expected, name))
