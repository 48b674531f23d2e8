"""Which targets of a run to intervene on: flagged ones, most severe first, each with a control that is not flagged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.errors import RunError
from audit.export import read_rules
from audit.findings.causes import match_controls, spread
from audit.store import Run, Shard, layout
from audit.store.tables import read_table

_KEYS = ["sample", "slot"]
_COLUMNS = [*_KEYS, "class_id", "probability"]


def draw_suspects(run: Run, count: int) -> pd.DataFrame:
    """Up to `count` flagged targets, and for each the control that is like it, if there is one.

    A run in which no object is known has no flagged targets. There the confidently named targets of classes with a
    claim take their place.

    Returns:
        One row a target: sample, slot, class_id, probability, severity (NaN for controls, and where nothing was
        scored), role (flagged, control), and `control`, for flagged targets the row of their control in this table, -1
        without. Of near-duplicates only one is drawn for a class.

    Raises:
        RunError: nothing is flagged.
    """
    listed = pd.concat([_listed(run, shard) for shard in run.done()], ignore_index=True)
    listed["worst"] = listed["severity"]
    if not listed["worst"].notna().any():
        listed["worst"] = listed["probability"].where(_claimed(run, listed))
    if not listed["worst"].notna().any():
        raise RunError(f"Nothing is flagged in {run.path}, so there is nothing to verify")
    listed = _without_copies(listed)
    class_id, worst = listed["class_id"].to_numpy(), listed["worst"].to_numpy()
    suspect = ~np.isnan(worst)
    drawn = np.flatnonzero(suspect)[spread(class_id[suspect], worst[suspect], count)]
    known = listed["known"].to_numpy()
    controls = match_controls(
        class_id, listed["probability"].to_numpy(), drawn, ~suspect & (known == known[drawn].any())
    )
    found = controls[controls >= 0]
    places = np.full(len(listed) + 1, -1)
    places[found] = len(drawn) + np.arange(len(found))
    rows = listed.iloc[np.concatenate([drawn, found])].reset_index(drop=True)
    roles = np.repeat(["flagged", "control"], (len(drawn), len(found)))
    own = np.concatenate([places[controls], np.full(len(found), -1)])
    return rows.drop(columns=["known", "look", "worst"]).assign(role=roles, control=own)


def with_files(run: Run, targets: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of targets, each with the id and digest of its sample, and its class by name."""
    rows: list[dict[str, Any]] = targets.to_dict("records")  # type: ignore[assignment]
    for index, row in enumerate(rows):
        shard = run.shards[row["sample"] // run.record["shard_size"]]
        sample = run.read("samples", shard, ["id", "digest"]).slice(row["sample"] - shard.start, 1).to_pylist()[0]
        yield {**row, **sample, "class": run.classes[row["class_id"]], "place": index}


def _without_copies(listed: pd.DataFrame) -> pd.DataFrame:
    """The worst target of each class and `look`: copies of an image are no evidence of their own."""
    ordered = listed.sort_values("worst", ascending=False, kind="stable")
    return ordered.drop_duplicates(["class_id", "look"]).sort_index().reset_index(drop=True)


def _listed(run: Run, shard: Shard) -> pd.DataFrame:
    """Targets of a shard that have a map, with the severity of their finding, NaN where there is none."""
    targets = run.read("targets", shard, [*_COLUMNS, "status"]).to_pandas()
    looks = run.read("samples", shard, ["look"])["look"].take(targets["sample"].to_numpy() - shard.start)
    targets["look"] = looks.to_pandas()
    rows: pd.DataFrame = targets[targets.pop("status") == "ok"]
    if not run.has_scores(shard):
        return rows.assign(severity=np.nan, known=True)
    scores = run.read("scores", shard, [*_KEYS, "status"]).to_pandas()
    scores = scores.assign(known=scores.pop("status") == "scored")
    path = run.path / layout.FINDINGS / layout.part_name(shard.index)
    if not path.exists():
        raise RunError(f"Expected findings at {path}, found none; make them with `camaudit flag {run.path}`")
    found = read_table(path, [*_KEYS, "severity"]).to_pandas()
    merged: pd.DataFrame = rows.merge(scores, on=_KEYS, how="left").merge(found, on=_KEYS, how="left")
    return merged


def _claimed(run: Run, listed: pd.DataFrame) -> NDArray[np.bool_]:
    """[n] which targets are named with confidence, of a class that a claim is about."""
    path = run.path / layout.FINDINGS / layout.CLAIMS
    claims = (
        read_table(path, ["class_id", "found"]).to_pandas() if path.exists() else pd.DataFrame(columns=["class_id"])
    )
    about = claims.loc[claims["found"], "class_id"].dropna() if len(claims) else claims["class_id"]
    confident = listed["probability"] >= read_rules(run).confident
    return (listed["class_id"].isin(about) & confident).to_numpy()
