"""The detector of off-object heat for targets without masks, on drawn heat whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import precision_score, recall_score

from audit.findings.detector import (
    LEAST_FLAGGED,
    MOST_CLASSES,
    Detector,
    choose_threshold,
    fit_detector,
    target_features,
)
from audit.stats.intervals import wilson_interval

CLASSES = 4


def draw(rng: np.random.Generator, n: int, telling: float = 0.9) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features and truth of targets: heat in the bottom-right corner means off the object, at the rate `telling`."""
    corner = rng.random(n) < 0.3
    off = np.where(rng.random(n) < telling, corner, rng.random(n) < 0.3)
    heat = rng.gamma(0.3, size=(n, 8, 8))
    heat[corner, 6:, 6:] += 4
    heat[~corner, 2:6, 2:6] += 1
    return target_features(heat.reshape(n, 64), rng.random(n), rng.integers(0, CLASSES, n), CLASSES), off


def fitted(features: NDArray[np.float32], off: NDArray[np.bool_], image: NDArray[np.int64] | None = None) -> Detector:
    detector = fit_detector(features, off, np.arange(len(off)) if image is None else image)
    assert isinstance(detector, Detector), detector
    return detector


def test_what_was_measured_on_held_out_targets_holds_for_new_ones() -> None:
    measured = [new_targets(seed) for seed in range(20)]
    covered = [
        detector.precision_interval[0] <= precision <= detector.precision_interval[1]
        and detector.recall_interval[0] <= recall <= detector.recall_interval[1]
        for detector, precision, recall in measured
    ]
    assert np.mean(covered) >= 0.8
    assert np.mean([precision >= 0.8 for _, precision, _ in measured]) >= 0.95


def new_targets(seed: int) -> tuple[Detector, float, float]:
    """A detector from 500 targets, and its precision and recall on 4000 others."""
    rng = np.random.default_rng(seed)
    detector = fitted(*draw(rng, 500))
    features, off = draw(rng, 4000)
    flagged = detector.flag(features)
    np.testing.assert_array_equal(flagged, detector.predict(features) >= detector.threshold)
    return detector, precision_score(off, flagged), recall_score(off, flagged)


def test_a_detector_is_the_same_each_time(rng: np.random.Generator) -> None:
    features, off = draw(rng, 600)
    one, other = fitted(features, off), fitted(features, off)
    np.testing.assert_array_equal(one.predict(features), other.predict(features))
    assert (one.threshold, one.precision, one.recall) == (other.threshold, other.precision, other.recall)


def test_features_that_tell_nothing_give_no_detector(rng: np.random.Generator) -> None:
    features, _ = draw(rng, 800)
    reason = fit_detector(features, rng.random(800) < 0.4, np.arange(800))
    assert isinstance(reason, str)
    assert reason.startswith("Expected a precision of 0.80 on held-out masked targets, reached ")


def test_too_few_findings_give_no_detector(rng: np.random.Generator) -> None:
    features, off = draw(rng, 400)
    few = off & (np.cumsum(off) < LEAST_FLAGGED)
    reason = fit_detector(features, few, np.arange(400))
    assert isinstance(reason, str)
    assert reason.startswith(f"Expected at least {LEAST_FLAGGED} masked targets that look off the object")
    assert isinstance(fit_detector(features, np.ones(400, bool), np.arange(400)), str)
    assert isinstance(fit_detector(features, off, np.zeros(400, int)), str)


def test_copies_of_an_image_do_not_vouch_for_one_another(rng: np.random.Generator) -> None:
    """Noise that is remembered would look precise if a copy of a target were held out from it."""
    features = np.repeat(rng.normal(size=(150, 120)).astype(np.float32), 6, axis=0)
    off, image = np.repeat(rng.random(150) < 0.4, 6), np.repeat(np.arange(150), 6)
    assert isinstance(fit_detector(features, off, np.arange(900)), Detector)
    assert isinstance(fit_detector(features, off, image), str)


def test_the_threshold_is_that_of_a_search_over_all(rng: np.random.Generator) -> None:
    off = rng.random(300) < 0.5
    chances = np.clip(off * 0.5 + rng.normal(0.25, 0.2, 300), 0, 1).round(2)  # ties
    low = [wilson_interval(off[chances >= t].sum()[None], (chances >= t).sum()[None])[0][0] for t in np.unique(chances)]
    kept = [t for t, least in zip(np.unique(chances), low, strict=True) if least >= 0.8 and t >= 0.5]
    assert choose_threshold(chances, off, 0.8) == min(kept)
    assert choose_threshold(chances, np.zeros(300, bool), 0.8) is None


def test_a_target_that_more_likely_looks_at_its_object_is_not_flagged() -> None:
    assert choose_threshold(np.linspace(0, 1, 101), np.ones(101, bool), 0.8) == 0.5


def test_features_are_shares_of_heat_and_its_shape() -> None:
    heat = np.zeros((2, 64))
    heat[0, 63], heat[1] = 7, 1
    features = target_features(heat, np.array([0.5, 0.25]), np.array([2, 0]), 3)
    assert features.shape == (2, 64 + 5 + 1 + 3)
    np.testing.assert_array_equal(features[0, :64], np.eye(64)[63])
    np.testing.assert_allclose(features[0, 64:69], [0, 1, 7, 7, 3.5 * np.sqrt(2)], rtol=1e-6)
    np.testing.assert_allclose(features[1, 64:66], [np.log(64), 1 / 64], rtol=1e-5)
    np.testing.assert_array_equal(features[:, 69:], [[0.5, 0, 0, 1], [0.25, 1, 0, 0]])


def test_maps_without_heat_and_many_classes_give_features_all_the_same() -> None:
    features = target_features(np.full((1, 64), np.nan), np.array([0.9]), np.array([7]), MOST_CLASSES + 1)
    assert features.shape == (1, 70)
    assert np.isfinite(features).all()


def test_a_precision_out_of_range_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="Expected `precision` between 0 and 1, got 1"):
        fit_detector(*draw(rng, 10), np.arange(10), precision=1)


def test_a_detector_is_refused_where_one_kind_is_a_single_image_and_its_copies() -> None:
    rng = np.random.default_rng(0)
    off = np.arange(400) < 60
    image = np.where(off, 0, np.arange(400))
    assert "in a single unit" in str(fit_detector(rng.random((400, 5)), off, image))
