"""The rules: which targets look off the object, against what chance would do.

Only targets whose class was named with confidence are judged: what a model does not name it need not look at. One is

- `avoids` when its heat lies on the object less than at random places: q of p_low at or below the false discovery rate,
  see `audit.findings.avoidance`;
- `indifferent` when its heat is misplaced: many random places would do as well on the object, and the place it has
  falls short of the best. That is a failure to show that the heat looks for the object, not a test of its own; the
  class-level test is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KINDS = ("avoids", "indifferent", "detected")
"""`detected`: a target without a mask that the detector flags; see `audit.findings.detector`."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts as a finding.

    Attributes:
        fdr: false discovery rate, for targets, for classes and for each family of claims.
        confident: probability from which a class counts as named with confidence.
        misplaced: misplacement from which a confidently named target is a finding.
        tolerated: share of a class's confident targets that may look off the object without the class being a finding;
            beside classes that hardly ever do it is less, see `audit.findings.claims.whole_class`.
        unit: attribute of the manifest whose values are the units of evidence (patient, camera, video, burst); None
            where each image is one, with its near-copies.
        verdicts: whether what reviewers disagree with is left out; see `audit.findings.evidence.disagreements`.
    """

    fdr: float = 0.05
    confident: float = 0.5
    misplaced: float = 0.05
    tolerated: float = 0.5
    unit: str | None = None
    verdicts: bool = False

    def __post_init__(self) -> None:
        for name in ("fdr", "confident", "misplaced", "tolerated"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"Expected `{name}` between 0 and 1, got {getattr(self, name)}")
        if self.unit == "":
            raise ValueError("Expected `unit` to name an attribute of the manifest, got an empty name")


def kinds(
    probability: NDArray[np.floating],
    misplacement: NDArray[np.floating],
    q_low: NDArray[np.floating],
    rules: Rules,
) -> NDArray[np.object_]:
    """Kind of each target's finding [n], None where there is none."""
    kind = np.full(len(probability), None, object)
    named = probability >= rules.confident
    kind[named & (misplacement >= rules.misplaced)] = "indifferent"
    kind[named & (q_low <= rules.fdr)] = "avoids"
    return kind


def misplacement(
    p_high: NDArray[np.floating], energy: NDArray[np.floating], attainable: NDArray[np.floating]
) -> NDArray[np.float64]:
    """How little a map's heat looks for its object [n], 0..1: chance times shortfall.

    Chance is the share of random places that do as well, the shortfall what is missing to the best of them,
    1 - energy / attainable. Both compare a map with itself elsewhere, so neither a small object nor a broad map counts
    as misplaced for being so; nor does a large object, on which many places do well, when the heat lies there as well
    as it can. 0 where no heat lies on what counts, or no place reaches the object: that is evidence of nothing.
    """
    energy, attainable = np.asarray(energy, np.float64), np.asarray(attainable, np.float64)
    placed = np.divide(energy, attainable, out=np.ones(len(energy)), where=attainable > 0)
    return np.asarray(np.asarray(p_high, np.float64) * np.clip(1 - np.nan_to_num(placed, nan=1.0), 0, 1))


def suspicion(
    severity: NDArray[np.floating], quick: NDArray[np.floating], class_id: NDArray[np.integer]
) -> NDArray[np.float64]:
    """What findings are ranked by [n], 0..1: half what is known of the target, half the mean of its class.

    Of a target the severity is known, which says where the heat lies, and where it was asked the quick reliance, which
    says what the answer loses. Their mean counts. Each of them errs; what the class does elsewhere says how likely an
    error is. So a class that lost little comes behind one that lost much, and within a class nothing changes.

    Args:
        severity: of findings.
        quick: quick reliance, -1..1; NaN where it was not measured. See `audit.interventions.quick`.

    >>> suspicion(np.array([0.4, 0.4, 0.4]), np.array([0.8, 0.0, np.nan]), np.array([0, 0, 1])).round(2).tolist()
    [0.5, 0.3, 0.4]
    """
    own = np.where(np.isnan(quick), severity, (severity + np.clip(quick, 0, 1)) / 2)
    count = np.maximum(np.bincount(class_id), 1)
    return np.asarray((own + (np.bincount(class_id, own) / count)[class_id]) / 2, np.float64)


def severity(probability: NDArray[np.floating], misplacement: NDArray[np.floating]) -> NDArray[np.float64]:
    """The image score [n], 0..1: misplacement times confidence, which is how far the probability exceeds even odds.

    On planted scenes where a class relies on its cue in some images alone, products of powers of chance, shortfall and
    confidence rank reliance about equally well and better than each alone; this is the plainest of them.
    """
    return np.asarray(misplacement, np.float64) * np.maximum(2 * np.asarray(probability, np.float64) - 1, 0)
