"""Findings without masks: a detector that learns from the masked part of a collection what off-object heat looks like.

A logistic regression on what is known of a target without its mask: where its heat lies in the frame, how concentrated
it is, how sure the model was, which class it names. It is fitted to `Evidence.off` of masked
targets, and is worth as much as it was right on masked targets that it had not seen: those figures come with it, and if
they are too low there is no detector. They hold for the rest of the collection as far as the masked part resembles it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from audit.findings.gather import KEPT, Gathered
from audit.findings.rules import Rules, severity
from audit.stats.intervals import wilson_interval
from audit.store import Run, Shard, layout

PRECISION = 0.8
"""Share of the targets that the detector flags that shall look off the object."""
LEAST_FLAGGED = 50
"""Masked targets that look off the object, and that do not, from which a detector is fitted."""
MOST_TARGETS = 50_000
"""Masked targets that it is fitted to at most."""
MOST_CLASSES = 50
"""With more classes a target's class is not a feature."""
FOLDS = 5
STRENGTH = 0.1
"""Inverse of the regularisation: most cells of the frame tell nothing, and with 1 their noise is fitted."""


@dataclass(frozen=True)
class Detector:
    """Tells from features without a mask whether a target looks off the object.

    Attributes:
        threshold: probability from which a target is flagged.
        precision, recall: measured on held-out masked targets: share of the flagged that look off the object, share of
            those that look off the object that were flagged.
        precision_interval, recall_interval: 95 % (Wilson).
        targets, off: masked targets that it was fitted to, and how many of them look off the object.
    """

    model: Pipeline
    threshold: float
    precision: float
    precision_interval: tuple[float, float]
    recall: float
    recall_interval: tuple[float, float]
    targets: int
    off: int

    def predict(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probability [n] that targets look off the object, from features [n, F]."""
        return np.asarray(self.model.predict_proba(features)[:, 1])

    def flag(self, features: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which targets [n] the detector flags."""
        return np.asarray(self.predict(features) >= self.threshold)


def target_features(
    heat: NDArray[np.floating],
    probability: NDArray[np.floating],
    class_id: NDArray[np.integer],
    class_count: int,
) -> NDArray[np.float32]:
    """What is known of targets without a mask: [n, F].

    Args:
        heat: [n, 64] all heat by cell of the frame, also of masked targets: off-object heat would tell of the mask.
        probability, class_id: [n].
        class_count: number of classes.
    """
    cells = np.nan_to_num(np.asarray(heat, np.float32))
    cells = cells / np.maximum(cells.sum(axis=1, keepdims=True), np.float32(1e-6))
    columns = [cells, _shape_of(cells), np.asarray(probability, np.float32)[:, None]]
    if class_count <= MOST_CLASSES:
        columns.append(np.eye(class_count, dtype=np.float32)[class_id])
    return np.concatenate(columns, axis=1)


def fit_detector(
    features: NDArray[np.floating],
    off: NDArray[np.bool_],
    unit: NDArray[np.integer],
    precision: float = PRECISION,
    seed: int = 0,
) -> Detector | str:
    """Fit a detector to masked targets, or say in a line why there is none.

    Cross-fitted: each image is predicted by a model that saw none of its unit. The threshold is the
    lowest, from even odds on, whose flagged targets look off the object at a rate with a lower confidence limit of
    `precision`. What is reported was measured on each fold with the threshold that the other folds chose.

    Args:
        features: [n, F], from `target_features`.
        off: [n] whether the target looks off the object.
        unit: [n] the same number for targets of one unit.
        precision: to reach, 0..1.
    """
    if not 0 < precision < 1:
        raise ValueError(f"Expected `precision` between 0 and 1, got {precision}")
    features, off, unit = _drawn(features, off, unit, seed)
    if min(off.sum(), (~off).sum()) < LEAST_FLAGGED or len(np.unique(unit)) < FOLDS:
        return (
            f"Expected at least {LEAST_FLAGGED} masked targets that look off the object and as many that do not, "
            f"got {off.sum()} and {(~off).sum()}; add masks"
        )
    folds = list(GroupKFold(FOLDS, shuffle=True, random_state=seed).split(features, off, unit))
    if any(off[train].all() or not off[train].any() for train, _ in folds):
        return "Expected masked targets of both kinds in many images, got one kind in a single unit"
    chances = _held_out(features, off, folds)
    threshold = choose_threshold(chances, off, precision)
    flagged = _flagged_by_other_folds(chances, off, folds, precision)
    reached = (flagged & off).sum() / max(flagged.sum(), 1)
    if threshold is None or reached < precision:
        return (
            f"Expected a precision of {precision:.2f} on held-out masked targets, reached {reached:.2f} "
            f"({flagged.sum()} flagged); masks are needed to judge these targets"
        )
    return _measured(_model().fit(features, off), threshold, flagged, off)


def choose_threshold(chances: NDArray[np.floating], off: NDArray[np.bool_], precision: float) -> float | None:
    """The lowest threshold on `chances` [n] whose precision has a lower confidence limit (Wilson) of `precision`.

    None where there is none. It is 0.5 at the least: a target that more likely looks at its object is not flagged.
    """
    order = np.argsort(-chances, kind="stable")
    low, _ = wilson_interval(np.cumsum(off[order]), np.arange(1, len(order) + 1))
    # Targets with the same chance are flagged together.
    last = np.append(np.diff(chances[order]) != 0, True)
    enough = np.flatnonzero((low >= precision) & last & (chances[order] >= 0.5))
    return float(chances[order[enough[-1]]]) if len(enough) else None


def _shape_of(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Entropy, highest cell, its row, column and distance from the centre, of heat by cell that sums to 1: [n, 5]."""
    side = int(np.sqrt(cells.shape[1]))
    logs = np.log(cells, out=np.zeros_like(cells), where=cells > 0)
    row, column = np.divmod(cells.argmax(axis=1), side)
    middle = (side - 1) / 2
    distance = np.hypot(row - middle, column - middle)
    return np.stack([-(cells * logs).sum(axis=1), cells.max(axis=1), row, column, distance], axis=1).astype(np.float32)


def _drawn(
    features: NDArray[np.floating], off: NDArray[np.bool_], unit: NDArray[np.integer], seed: int
) -> tuple[NDArray[np.floating], NDArray[np.bool_], NDArray[np.integer]]:
    if len(off) <= MOST_TARGETS:
        return features, off, unit
    rows = np.sort(np.random.default_rng(seed).choice(len(off), MOST_TARGETS, replace=False))
    return features[rows], off[rows], unit[rows]


def _model() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))


_Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]


def _held_out(features: NDArray[np.floating], off: NDArray[np.bool_], folds: _Folds) -> NDArray[np.float64]:
    """Each target's probability [n] by a model fitted to the other folds."""
    chances = np.empty(len(off))
    for train, test in folds:
        chances[test] = _model().fit(features[train], off[train]).predict_proba(features[test])[:, 1]
    return chances


def _flagged_by_other_folds(
    chances: NDArray[np.float64], off: NDArray[np.bool_], folds: _Folds, precision: float
) -> NDArray[np.bool_]:
    flagged = np.zeros(len(off), np.bool_)
    for train, test in folds:
        threshold = choose_threshold(chances[train], off[train], precision)
        flagged[test] = False if threshold is None else chances[test] >= threshold
    return flagged


def _measured(model: Pipeline, threshold: float, flagged: NDArray[np.bool_], off: NDArray[np.bool_]) -> Detector:
    right = int((flagged & off).sum())
    total = np.array([flagged.sum(), off.sum()])
    low, high = wilson_interval(np.array([right, right]), total)
    precision, recall = right / total
    intervals = [(float(below), float(above)) for below, above in zip(low, high, strict=True)]
    return Detector(
        model, threshold, float(precision), intervals[0], float(recall), intervals[1], len(off), int(off.sum())
    )


def detect(
    run: Run, shards: Sequence[Shard], gathered: Gathered, judged: pd.DataFrame, rules: Rules
) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """Findings about confidently named targets of which nothing is known, and what the detector is worth.

    Returns:
        Rows as of `judge`, of kind `detected`, their severity with the detector's probability for the misplacement; and
        its record, None where all objects are known, or none.
    """
    targets = gathered.targets
    known = targets["known"].to_numpy()
    if known.all() or not known.any():
        return judged.iloc[:0], None
    heat = np.concatenate([_heat(run, shard) for shard in shards])
    features = target_features(
        heat, targets["probability"].to_numpy(), targets["class_id"].to_numpy(), len(run.classes)
    )
    named = targets["probability"].to_numpy() >= rules.confident
    masked, unmasked = known & named, ~known & named
    off = judged["kind"].reindex(targets.index).notna().to_numpy()
    detector = fit_detector(features[masked], off[masked], targets["unit"].to_numpy()[masked])
    if isinstance(detector, str):
        return judged.iloc[:0], {"refused": detector}
    return _detected(targets[unmasked], detector, features[unmasked]), _record(detector, int(unmasked.sum()))


def _detected(targets: pd.DataFrame, detector: Detector, features: NDArray[np.floating]) -> pd.DataFrame:
    chances = detector.predict(features)
    rows = targets.assign(
        severity=severity(targets["probability"].to_numpy(), chances),
        kind="detected",
        **dict.fromkeys(("chance", "q_low", "q_high"), np.nan),
    )
    return rows[detector.flag(features)]


def _record(detector: Detector, judged: int) -> dict[str, Any]:
    names = ("threshold", "precision", "precision_interval", "recall", "recall_interval", "targets", "off")
    return {name: getattr(detector, name) for name in names} | {"judged": judged}


def _heat(run: Run, shard: Shard) -> NDArray[np.float16]:
    """All heat by cell, of the targets that are gathered."""
    table = run.read("scores", shard, ["status", "heat"])
    cells = np.asarray(table["heat"].combine_chunks().flatten()).reshape(-1, layout.CELLS**2)
    return cells[np.isin(table["status"].to_numpy(), KEPT)]
