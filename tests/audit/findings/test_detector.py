"""The detector of off-object heat for targets without masks, on drawn heat whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from masked_parts import draw, hidden_precision
from numpy.typing import NDArray

from audit.findings.detector import (
    AIM,
    LEAST_FLAGGED,
    MOST_CLASSES,
    PRECISION,
    Detector,
    choose_threshold,
    fit_detector,
    precision_without_masks,
    target_features,
)


def fitted(
    features: NDArray[np.float32], off: NDArray[np.bool_], unmasked: NDArray[np.float32] | None = None
) -> Detector:
    detector = fit_detector(features, off, np.arange(len(off)), features if unmasked is None else unmasked)
    assert isinstance(detector, Detector), detector
    return detector


@pytest.mark.parametrize(("masked", "unmasked"), [(0.4, 0.4), (0.4, 0.2), (0.3, 0.6)])
def test_the_stated_precision_is_that_of_targets_without_masks_whatever_share_of_them_looks_off(
    masked: float, unmasked: float
) -> None:
    stated = [hidden_precision(seed, masked, unmasked) for seed in range(12)]
    given = [one for one in stated if one is not None]
    assert len(given) >= 4
    assert np.mean([share.low <= hidden <= share.high for share, hidden in given]) >= 0.9
    assert np.mean([hidden >= PRECISION for _, hidden in given]) >= 0.9


def test_a_precision_that_other_base_rates_take_away_gives_no_detector() -> None:
    """Of targets of which hardly any looks off the object most that are flagged are flagged wrongly."""
    rng = np.random.default_rng(0)
    features, off = draw(rng, 600, 0.4, 0.9)
    assert fitted(features, off).precision.low >= PRECISION
    reason = fit_detector(features, off, np.arange(len(off)), draw(rng, 600, 0.03, 0.9)[0])
    assert str(reason).startswith("Expected ")


@pytest.mark.parametrize(("recall", "alarms", "base_rate"), [(0.9, 0.05, 0.4), (0.7, 0.02, 0.1), (0.95, 0.2, 0.7)])
def test_intervals_of_precision_and_base_rate_cover_what_is_drawn(
    recall: float, alarms: float, base_rate: float
) -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(120):
        right, of_off = rng.binomial(400 * base_rate, recall), rng.binomial(400, base_rate)
        flagged_off, flagged_on = rng.binomial(of_off, recall), rng.binomial(400 - of_off, alarms)
        counts = (right, int(400 * base_rate)), (int(rng.binomial(300, alarms)), 300), (flagged_off + flagged_on, 400)
        precision, rate = precision_without_masks(*counts)
        hidden = flagged_off / (flagged_off + flagged_on)
        covered.append((precision.low <= hidden <= precision.high, rate.low <= base_rate <= rate.high))
    assert (np.mean(covered, axis=0) >= 0.96).all()


def test_precision_is_that_of_rogan_and_gladen_where_counts_are_large() -> None:
    recall, alarms, base_rate = 0.8, 0.1, 0.3
    share = base_rate * recall + (1 - base_rate) * alarms
    n = 10_000_000
    precision, rate = precision_without_masks((int(recall * n), n), (int(alarms * n), n), (int(share * n), n))
    assert precision.value == pytest.approx(base_rate * recall / share, abs=2e-3)
    assert rate.value == pytest.approx(base_rate, abs=2e-3)
    assert precision.high - precision.low < 0.01


def test_recall_and_false_alarms_are_those_among_targets_that_it_never_saw() -> None:
    rng = np.random.default_rng(2)
    detector = fitted(*draw(rng, 2000, 0.4, 0.9))
    features, off = draw(rng, 4000, 0.4, 0.9)
    flagged = detector.flag(features)
    for stated, kind in ((detector.recall, off), (detector.false_alarms, ~off)):
        assert stated.low < stated.value < stated.high
        assert stated.value == pytest.approx(flagged[kind].mean(), abs=0.04)
    assert stated.value < 0.1 < 0.5 < detector.recall.value


def test_chances_are_those_at_the_share_that_looks_off_among_targets_without_masks() -> None:
    rng = np.random.default_rng(3)
    (features, off), (others, hidden) = draw(rng, 1500, 0.3, 0.9), draw(rng, 1500, 0.6, 0.9)
    detector = fitted(features, off, others)
    odds = [np.log(rate / (1 - rate)) for rate in (off.mean(), hidden.mean())]
    assert detector.shift == pytest.approx(odds[1] - odds[0], abs=0.3)
    assert detector.predict(others).mean() == pytest.approx(hidden.mean(), abs=0.05)


def test_a_detector_is_the_same_each_time(rng: np.random.Generator) -> None:
    features, off = draw(rng, 600)
    one, other = fitted(features, off), fitted(features, off)
    np.testing.assert_array_equal(one.predict(features), other.predict(features))
    np.testing.assert_array_equal(one.flag(features), one.predict(features) >= one.threshold)
    assert (one.threshold, one.precision, one.recall) == (other.threshold, other.precision, other.recall)


def test_features_that_tell_nothing_give_no_detector(rng: np.random.Generator) -> None:
    features, _ = draw(rng, 800)
    for rate in (0.4, 0.7):
        reason = fit_detector(features, rng.random(800) < rate, np.arange(800), features)
        assert isinstance(reason, str)
        assert reason.startswith("Expected ")


def test_too_few_findings_give_no_detector(rng: np.random.Generator) -> None:
    features, off = draw(rng, 400)
    few = off & (np.cumsum(off) < LEAST_FLAGGED)
    reason = fit_detector(features, few, np.arange(400), features)
    assert isinstance(reason, str)
    assert reason.startswith(f"Expected at least {LEAST_FLAGGED} masked images in which the model looks off the object")
    assert isinstance(fit_detector(features, np.ones(400, bool), np.arange(400), features), str)
    assert isinstance(fit_detector(features, off, np.zeros(400, int), features), str)


def test_copies_of_an_image_do_not_vouch_for_one_another(rng: np.random.Generator) -> None:
    """Noise that is remembered would look precise if a copy of a target were held out from it."""
    features = np.repeat(rng.normal(size=(150, 120)).astype(np.float32), 6, axis=0)
    off, image = np.repeat(rng.random(150) < 0.4, 6), np.repeat(np.arange(150), 6)
    assert isinstance(fit_detector(features, off, np.arange(900), features), Detector)
    assert isinstance(fit_detector(features, off, image, features), str)


def test_the_threshold_is_that_of_a_search_over_all(rng: np.random.Generator) -> None:
    chances = rng.random(300).round(2)  # ties
    kept = [t for t in np.unique(chances) if t >= 0.5 and chances[chances >= t].mean() >= AIM]
    assert choose_threshold(chances) == min(kept)
    assert choose_threshold(np.full(9, 0.4)) is None


def test_a_target_that_more_likely_looks_at_its_object_is_not_flagged() -> None:
    assert choose_threshold(np.array([0.4, 0.5, *[1.0] * 100])) == 0.5


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
    for precision in (0, 1):
        with pytest.raises(ValueError, match=f"Expected `precision` between 0 and 1, got {precision}"):
            fit_detector(*draw(rng, 10), np.arange(10), np.zeros((1, 74)), precision=precision)


def test_a_detector_is_refused_where_one_kind_is_a_single_image_and_its_copies() -> None:
    rng = np.random.default_rng(0)
    off = np.arange(400) < 60
    image = np.where(off, 0, np.arange(400))
    assert "got 1 and 340" in str(fit_detector(rng.random((400, 5)), off, image, rng.random((9, 5))))
