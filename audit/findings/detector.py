"""Findings without masks: a detector that learns from the masked part of a collection what off-object heat looks like.

A logistic regression on what is known of a target without its mask: where its heat lies in the frame, how concentrated
it is, how sure the model was, which class it names. It is fitted to `Evidence.off` of masked targets.

What share of those that it flags look off the object depends on how many do at all, and the part without masks need not
be like the masked one in that. Held-out masked targets tell how often it flags those that do (its recall) and those
that do not. With the share f that it flags of the targets without masks, the share of these that look off is
(f - alarms) / (recall - alarms) (Rogan & Gladen 1978), and so the precision there is known, with its interval. Where
the lower end is too low there is no detector. What is supposed is that targets that look off the object look alike in
both parts, and so do those that do not.

scikit-learn is loaded where a detector is fitted: most collections have masks for all of their images, or for none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from audit.findings.evidence.frame import HEAT, heat_by_cell
from audit.findings.evidence.gather import KEPT, Gathered
from audit.findings.rules import Rules, severity
from audit.stats.intervals import wilson_interval
from audit.store import Run, Shard

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

PRECISION = 0.8
"""Share of the targets that the detector flags that shall look off the object: the lower end of its interval."""
LEAST_FLAGGED = 50
"""Masked images in which the model looks off the object, and in which it does not, from which a detector is fitted."""
MOST_TARGETS = 50_000
"""Masked targets that it is fitted to at most."""
MOST_CLASSES = 50
"""With more classes a target's class is not a feature."""
FOLDS = 5
STRENGTH = 0.1
"""Inverse of the regularisation: most cells of the frame tell nothing, and with 1 their noise is fitted."""
AIM = 0.9
"""Mean probability of the flagged, by which the threshold is chosen: beyond `PRECISION`, which is then measured."""
LEVEL = 0.99
"""Of the intervals of what is estimated: only detectors that seem good are kept, and of these fewer are covered."""
DRAWS = 4000


Count = tuple[int, int]
"""How many are flagged, and how many there are."""


class Share(NamedTuple):
    """A share and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Detector:
    """Tells from features without a mask whether a target looks off the object.

    Attributes:
        shift: from the log odds among masked targets to those among targets without, where another share looks off.
        threshold: probability from which a target is flagged.
        precision: of the targets without masks that it flags, those that look off the object; estimated, at `LEVEL`.
        base_rate: of all targets without masks, those that look off the object; estimated, at `LEVEL`.
        recall: of held-out masked targets that look off the object, those that it flags; 95 %.
        false_alarms: ... that do not.
        targets, off: masked targets that it was fitted to, and how many of them look off the object.
    """

    model: Pipeline
    shift: float
    threshold: float
    precision: Share
    base_rate: Share
    recall: Share
    false_alarms: Share
    targets: int
    off: int

    def predict(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probability [n] that targets without masks look off the object, from features [n, F]."""
        return np.asarray(expit(self.model.decision_function(features) + self.shift))

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
    unmasked: NDArray[np.floating],
    precision: float = PRECISION,
    seed: int = 0,
) -> Detector | str:
    """Fit a detector to masked targets, or say in a line why there is none.

    Cross-fitted: each image is predicted by a model that saw none of its unit, of which one counts. The threshold is
    the lowest at which the flagged look off the object with a mean probability of `AIM`. It is chosen by probabilities
    alone, and measured on labels that it was not chosen by.

    Args:
        features: [n, F], from `target_features`.
        off: [n] whether the target looks off the object.
        unit: [n] the same number for targets of one unit.
        unmasked: [m, F] targets that it is for, one a unit.
        precision: to reach, 0..1.
    """
    if not 0 < precision < 1:
        raise ValueError(f"Expected `precision` between 0 and 1, got {precision}")
    features, off, unit = _drawn(features, off, unit, seed)
    once = np.unique(unit, return_index=True)[1]
    kinds = int(off[once].sum()), int((~off[once]).sum())
    if min(kinds) < LEAST_FLAGGED:
        return (
            f"Expected at least {LEAST_FLAGGED} masked images in which the model looks off the object and as many in "
            f"which it does not, got {kinds[0]} and {kinds[1]}; add masks"
        )
    from sklearn.model_selection import GroupKFold

    folds = list(GroupKFold(FOLDS, shuffle=True, random_state=seed).split(features, off, unit))
    if any(off[train].all() or not off[train].any() for train, _ in folds):
        return "Expected masked targets of both kinds in many images, got one kind in a single unit"
    model = _model().fit(features, off)
    held_out, off_once, odds = _held_out(features, off, folds)[once], off[once], model.decision_function(unmasked)
    shift = _shift(held_out, off_once, odds)
    chances = expit(odds + shift)
    threshold = choose_threshold(chances)
    if threshold is None:
        return "Expected targets without masks that look like masked ones off the object, got none"
    of_off, of_on, of_unmasked = _counts(expit(held_out + shift), off_once, chances, threshold)
    reached, base_rate = precision_without_masks(of_off, of_on, of_unmasked, seed)
    if reached.low < precision:
        return (
            f"Expected a precision of at least {precision:.2f} on targets without masks, reached {reached.value:.2f} "
            f"[{reached.low:.2f}, {reached.high:.2f}]; more masks are needed to judge them"
        )
    recall, alarms = _wilson(of_off), _wilson(of_on)
    return Detector(model, shift, threshold, reached, base_rate, recall, alarms, len(off), int(off.sum()))


def choose_threshold(chances: NDArray[np.floating]) -> float | None:
    """The lowest of the chances [n] from which on they are `AIM` on average, and 0.5 at the least; None without any."""
    values, counts = np.unique(chances, return_counts=True)
    values, counts = values[::-1], counts[::-1]
    mean = np.cumsum(values * counts) / np.cumsum(counts)
    enough = np.flatnonzero((mean >= AIM) & (values >= 0.5))
    return float(values[enough[-1]]) if len(enough) else None


def precision_without_masks(
    flagged_off: Count, flagged_on: Count, flagged: Count, seed: int = 0
) -> tuple[Share, Share]:
    """Precision among targets without masks, and the share of these that look off the object.

    The three shares are drawn as likely as the counts make them (Jeffreys' prior), and how many of the flagged look off
    the object as likely as the precision makes that: the interval is that of what their masks would show.

    Args:
        flagged_off: held-out masked targets that look off the object: how many are flagged, and how many there are.
        flagged_on: ... that do not.
        flagged: the same of targets without masks.

    Example:
        Nine of ten are flagged and one in ten is wrongly so; where half are flagged, half look off the object.

        >>> precision, base_rate = precision_without_masks((900, 1000), (100, 1000), (500, 1000))
        >>> round(precision.value, 1), round(base_rate.value, 1)
        (0.9, 0.5)
        >>> round(precision_without_masks((900, 1000), (100, 1000), (180, 1000))[0].value, 1)
        0.5
    """
    rng = np.random.default_rng(seed)
    recall, alarms, share = (
        rng.beta(count + 0.5, of - count + 0.5, DRAWS) for count, of in (flagged_off, flagged_on, flagged)
    )
    tells = recall > alarms
    base_rate = np.clip(np.divide(share - alarms, recall - alarms, out=np.zeros(DRAWS), where=tells), 0, 1)
    right, wrong = base_rate * recall, (1 - base_rate) * alarms
    shown = rng.binomial(flagged[0], right / (right + wrong)) / max(flagged[0], 1)
    return _middle(shown), _middle(base_rate)


def _middle(draws: NDArray[np.float64]) -> Share:
    low, middle, high = np.quantile(draws, ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2)).tolist()
    return Share(middle, low, high)


def _shift(held_out: NDArray[np.float64], off: NDArray[np.bool_], unmasked: NDArray[np.float64]) -> float:
    """From log odds where the share `off` looks off the object to log odds where the share of the unmasked does."""
    _, base_rate = precision_without_masks(*_counts(held_out, off, unmasked, 0.0))
    least = 0.5 / len(unmasked)
    return float(logit(np.clip(base_rate.value, least, 1 - least)) - logit(off.mean()))


def _counts(
    held_out: NDArray[np.floating], off: NDArray[np.bool_], unmasked: NDArray[np.floating], threshold: float
) -> tuple[Count, Count, Count]:
    """How many are flagged, and how many there are: off the object, not, and unmasked."""
    off_object, on_object, others = (
        (int((part >= threshold).sum()), len(part)) for part in (held_out[off], held_out[~off], unmasked)
    )
    return off_object, on_object, others


def _wilson(counted: Count) -> Share:
    count, of = counted
    low, high = wilson_interval(np.array([count]), np.array([of]))
    return Share(count / of, float(low[0]), float(high[0]))


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
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))


_Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]


def _held_out(features: NDArray[np.floating], off: NDArray[np.bool_], folds: _Folds) -> NDArray[np.float64]:
    """Each target's log odds [n] by a model fitted to the other folds."""
    odds = np.empty(len(off))
    for train, test in folds:
        odds[test] = _model().fit(features[train], off[train]).decision_function(features[test])
    return odds


def detect(
    run: Run, shards: Sequence[Shard], gathered: Gathered, judged: pd.DataFrame, rules: Rules
) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """Findings about confidently named targets of which nothing is known, and what the detector is worth.

    Returns:
        Rows as of `judge`, of kind `detected`, their severity with the detector's probability for the misplacement; and
        its record, None where the objects of all that are named are known, or no object is.
    """
    targets = gathered.targets
    known = targets["known"].to_numpy()
    named = targets["probability"].to_numpy() >= rules.confident
    masked, unmasked = known & named, ~known & named
    if not unmasked.any() or not known.any():
        return judged.iloc[:0], None
    heat = np.concatenate([_heat(run, shard) for shard in shards])
    features = target_features(
        heat, targets["probability"].to_numpy(), targets["class_id"].to_numpy(), len(run.classes)
    )
    off = judged["kind"].reindex(targets.index).notna().to_numpy()
    unit = targets["unit"].to_numpy()
    once = np.flatnonzero(unmasked)[np.unique(unit[unmasked], return_index=True)[1]]
    detector = fit_detector(features[masked], off[masked], unit[masked], features[once])
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
    shares = ("precision", "base_rate", "recall", "false_alarms")
    record: dict[str, Any] = {name: getattr(detector, name).value for name in shares}
    record |= {f"{name}_interval": list(getattr(detector, name)[1:]) for name in shares}
    return {
        "threshold": detector.threshold,
        **record,
        "targets": detector.targets,
        "off": detector.off,
        "judged": judged,
    }


def _heat(run: Run, shard: Shard) -> NDArray[np.float16]:
    """All heat by cell, of the targets that are gathered."""
    table = run.read("scores", shard, ["status", *HEAT])
    return heat_by_cell(table)[np.isin(table["status"].to_numpy(), KEPT)]
