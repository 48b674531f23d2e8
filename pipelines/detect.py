"""Findings about targets without masks, by a detector fitted on those with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.findings import Rules, severity
from audit.findings.detector import Detector, fit_detector, target_features
from audit.store import Run, Shard, layout
from pipelines.gather import Gathered

_KEPT = ("scored", "no_mask")


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
    seen, unseen = known & named, ~known & named
    off = judged["kind"].reindex(targets.index).notna().to_numpy()
    detector = fit_detector(features[seen], off[seen], pd.factorize(targets["look"])[0][seen])
    if isinstance(detector, str):
        return judged.iloc[:0], {"refused": detector}
    return _detected(targets[unseen], detector, features[unseen]), _record(detector, int(unseen.sum()))


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
    return cells[np.isin(table["status"].to_numpy(), _KEPT)]
