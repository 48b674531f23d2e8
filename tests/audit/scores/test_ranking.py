"""Average precision and the confusion of masks, against scikit-learn and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, jaccard_score

from audit.scores import MaskConfusion, average_precision, mean_average_precision


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_scikit_learn_s_and_the_formula_s(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, 30) / 3 if ties else rng.random(30)
    positive = rng.random(30) < 0.3
    value = average_precision(scores, positive)
    assert value == pytest.approx(average_precision_score(positive, scores))
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        named = scores >= threshold
        recall = (named & positive).sum() / positive.sum()
        total += (recall - before) * (named & positive).sum() / named.sum()
        before = recall
    assert value == pytest.approx(total)


def test_the_mean_leaves_out_classes_that_do_not_occur() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5], [0.3, 0.7, 0.5]])
    positive = np.array([[True, False, False], [False, False, False], [False, True, False]])
    assert mean_average_precision(scores, positive) == pytest.approx((1 + 0.5) / 2)
    assert math.isnan(mean_average_precision(scores, positive & False))


def test_mean_iou_of_masks_is_scikit_learn_s_over_the_pixels_that_are_known() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice([-1, 0, 1, 3], (3, 20, 30)).astype(np.int16)
    predicted = rng.choice([0, 1, 2, 3], (3, 20, 30)).astype(np.uint8)
    confusion = MaskConfusion(5)
    for mask, true in zip(predicted, truth, strict=True):
        confusion.add(mask, true)
    known = truth >= 0
    expected = jaccard_score(truth[known], predicted[known], average=None, labels=[0, 1, 2, 3])
    np.testing.assert_allclose(confusion.ious()[:4], expected)
    assert np.isnan(confusion.ious()[4:]).all()
    assert confusion.mean_iou() == pytest.approx(expected.mean())
    again = MaskConfusion(5)
    again.merge(confusion.cells())
    np.testing.assert_array_equal(again.counts, confusion.counts)


def test_nothing_counted_has_no_mean() -> None:
    assert math.isnan(MaskConfusion(2).mean_iou())
