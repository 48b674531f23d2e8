"""Which targets of a run to intervene on: flagged ones, most severe first, each with a control that is not flagged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.errors import RunError
from audit.findings import Findings
from audit.findings.evidence.gather import KEPT
from audit.findings.evidence.units import units_of
from audit.store import Run, Shard

_BANDS = (0.5, 0.7, 0.9, 0.97)
_KEYS = ["sample", "slot"]
_COLUMNS = [*_KEYS, "class_id", "probability"]


def draw_suspects(run: Run, count: int) -> pd.DataFrame:
    """Up to `count` flagged targets, and for each the control that is like it, if there is one.

    A run in which no object is known has no flagged targets. There the confidently named targets of classes with a
    claim take their place.

    Returns:
        One row a target: sample, slot, class_id, probability, severity (NaN for controls, and where nothing was
        scored), arm (flagged, control), and `control`, for flagged targets the row of their control in this table, -1
        without. Of a unit only one is drawn for a class.

    Raises:
        RunError: nothing is flagged, or no shard is finished.
    """
    findings = Findings(run)
    if not run.done():
        raise RunError(f"{run.path} has no finished shard to verify; finish it with `camaudit run`")
    listed = pd.concat([_listed(findings, shard) for shard in run.done()], ignore_index=True)
    listed["worst"] = listed["severity"].where(
        listed["known"], listed["severity"] - 1
    )  # a detector's guesses come last
    if not listed["worst"].notna().any():
        listed["worst"] = listed["probability"].where(_claimed(findings, listed))
    if not listed["worst"].notna().any():
        raise RunError(f"Nothing is flagged in {run.path}, so there is nothing to verify")
    listed = _one_a_unit(listed.assign(unit=_units(findings, listed)))
    class_id, worst = listed["class_id"].to_numpy(), listed["worst"].to_numpy()
    suspect = ~np.isnan(worst)
    drawn = np.flatnonzero(suspect)[spread(class_id[suspect], worst[suspect], count)]
    known = listed["known"].to_numpy()
    controls = match_controls(
        class_id, listed["probability"].to_numpy(), drawn, ~suspect & (known == known[drawn].any())
    )
    matched = controls[controls >= 0]
    places = np.full(len(listed) + 1, -1)
    places[matched] = len(drawn) + np.arange(len(matched))
    rows = listed.iloc[np.concatenate([drawn, matched])].reset_index(drop=True)
    arms = np.repeat(["flagged", "control"], (len(drawn), len(matched)))
    control = np.concatenate([places[controls], np.full(len(matched), -1)])
    return rows.drop(columns=["known", "kept", "look", "unit", "worst"]).assign(arm=arms, control=control)


def with_files(run: Run, targets: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of targets, each with the id and digest of its sample, and its class by name."""
    rows: list[dict[str, Any]] = targets.to_dict("records")  # type: ignore[assignment]
    for index, row in enumerate(rows):
        shard = run.shards[row["sample"] // run.record["shard_size"]]
        sample = run.read("samples", shard, ["id", "digest"]).slice(row["sample"] - shard.start, 1).to_pylist()[0]
        yield {**row, **sample, "class": run.classes[row["class_id"]], "place": index}


def _units(findings: Findings, listed: pd.DataFrame) -> NDArray[np.int64]:
    sample, look = (listed[name].to_numpy() for name in ("sample", "look"))
    return units_of(findings.run, sample, look, findings.rules().unit)


def _one_a_unit(listed: pd.DataFrame) -> pd.DataFrame:
    """The worst target of each class and unit: copies of an image are no evidence of their own."""
    ordered = listed.sort_values("worst", ascending=False, kind="stable")
    return ordered.drop_duplicates(["class_id", "unit"]).sort_index().reset_index(drop=True)


def _listed(findings: Findings, shard: Shard) -> pd.DataFrame:
    """Targets of a shard that have a map, with the severity of their finding, NaN where there is none."""
    run = findings.run
    targets = run.read("targets", shard, [*_COLUMNS, "status"]).to_pandas()
    looks = run.read("samples", shard, ["look"])["look"].take(targets["sample"].to_numpy() - shard.start)
    targets["look"] = looks.to_pandas()
    rows: pd.DataFrame = targets[targets.pop("status") == "ok"]
    if not run.has_scores(shard):
        return rows.assign(severity=np.nan, known=True, kept=False)
    scores = run.read("scores", shard, [*_KEYS, "status"]).to_pandas()
    status = scores.pop("status")
    scores = scores.assign(known=status == "scored", kept=status.isin(KEPT))
    flagged = findings.of_shard(shard, [*_KEYS, "severity"]).to_pandas()
    merged: pd.DataFrame = rows.merge(scores, on=_KEYS, how="left").merge(flagged, on=_KEYS, how="left")
    return merged


def _claimed(findings: Findings, listed: pd.DataFrame) -> NDArray[np.bool_]:
    """[n] which targets claims were made from, named with confidence, of a class that a claim is about."""
    about = {claim.class_id for claim in findings.standing_claims()} - {None}
    confident = listed["probability"] >= findings.rules().confident
    return (listed["class_id"].isin(about) & confident & listed["kept"]).to_numpy()


def spread(class_id: NDArray[np.integer], severity: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Places of up to `count` targets [n], most severe first: the worst of each class, then the second of each, ..."""
    order = np.argsort(-severity, kind="stable")
    grouped = np.argsort(class_id[order], kind="stable")
    ids = class_id[order][grouped]
    turn = np.empty(len(order), np.intp)
    turn[grouped] = np.arange(len(ids)) - np.searchsorted(ids, ids)
    chosen = np.argsort(turn, kind="stable")[:count]
    return order[np.sort(chosen)]


def match_controls(
    class_id: NDArray[np.integer],
    probability: NDArray[np.floating],
    drawn: NDArray[np.intp],
    free: NDArray[np.bool_],
) -> NDArray[np.intp]:
    """A control for each drawn target, none twice: a free one of its class and confidence band, as near as can be.

    Where its class has none left, one of another class in the same band: what the interventions themselves do to a
    probability is seen there as well.

    Args:
        class_id, probability: [n] of all targets.
        drawn: [m] places of the targets that need a control.
        free: [n] whether a target may be one.

    Returns:
        [m] places, -1 where there is none.
    """
    band = _band(probability)
    left = free.copy()
    controls = np.full(len(drawn), -1, np.intp)
    for place, target in enumerate(drawn):
        near = left & (band == band[target])
        same_class = near & (class_id == class_id[target])
        candidates = np.flatnonzero(same_class if same_class.any() else near)
        if len(candidates):
            controls[place] = candidates[np.abs(probability[candidates] - probability[target]).argmin()]
            left[controls[place]] = False
    return controls


def _band(probability: NDArray[np.floating]) -> NDArray[np.intp]:
    return np.asarray(np.digitize(probability, _BANDS))
