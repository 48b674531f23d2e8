"""Which targets show a claim best: those with most heat in its spot, on the other class, or looking off the most."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings.zones import ZONES
from audit.store import Run, Shard

FEW = 4
"""Targets that are shown of a claim."""

Scores = NDArray[np.floating]
Claim = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A shard's targets that have a map, with what claims are about.

    Attributes:
        rows: `sample`, `slot`, `class_id`, `role`, `probability`, `rank`, `area`, `severity` (NaN where there is no
            finding), `known` (its object) and `named` (with confidence), each [n].
        off_heat: [n, 64] as in `audit.store.layout.SCORES`.
        context: `place` (0..n-1, the target's), `class_id` and `heat` of other classes in their masks, each [m].
    """

    shard: Shard
    rows: Mapping[str, NDArray[Any]]
    off_heat: NDArray[np.float16]
    context: Mapping[str, NDArray[Any]]


class Examples:
    """The few best targets of each claim, found part by part."""

    def __init__(self, run: Run, claims: Sequence[Claim]) -> None:
        self._run = run
        self._claims = claims
        self._best: dict[str, list[tuple[float, int, int]]] = {claim["finding"]: [] for claim in claims}

    def add(self, part: Part) -> None:
        """Look through a shard."""
        for claim in self._claims:
            scores = np.where(_of_class(claim, part), _how_well(self._run, claim, part), -np.inf)
            best = self._best[claim["finding"]]
            for place in np.argsort(-scores, kind="stable")[:FEW]:
                if np.isfinite(scores[place]):
                    sample, slot = (int(part.rows[name][place]) for name in ("sample", "slot"))
                    best.append((float(scores[place]), -sample, -slot))
            self._best[claim["finding"]] = heapq.nlargest(FEW, best)

    def targets(self, claim: Claim) -> list[tuple[int, int]]:
        """Samples and slots that show a claim, the best first; of a cluster the most typical."""
        if claim["kind"] == "cluster":
            return [(int(sample), int(slot)) for sample, slot in claim["details"].get("sheet", [])[:FEW]]
        return [(-sample, -slot) for _, sample, slot in self._best[claim["finding"]]]


def how_chosen(claim: Claim) -> str:
    """What the targets of a claim were chosen by, in a sentence."""
    return _CHOSEN.get(claim["kind"], "The most severe images of the class.")


def _of_class(claim: Claim, part: Part) -> NDArray[np.bool_]:
    own = part.rows["class_id"]
    return np.ones(len(own), bool) if claim["class_id"] is None else np.asarray(own == claim["class_id"])


def _how_well(run: Run, claim: Claim, part: Part) -> Scores:
    """How well each target [n] shows the claim; -inf or NaN where it does not."""
    return _HOW.get(claim["kind"], _by_severity)(run, claim, part)


def _by_severity(run: Run, claim: Claim, part: Part) -> Scores:
    return part.rows["severity"]


def _by_cells(run: Run, claim: Claim, part: Part) -> Scores:
    """Heat off the object in the claim's cells."""
    heat = part.off_heat[:, _cells(claim)].sum(axis=1, dtype=np.float64)
    return np.where(part.rows["named"], heat, -np.inf)


def _by_other_class(run: Run, claim: Claim, part: Part) -> Scores:
    """Heat on the other class."""
    other = part.context["class_id"] == run.classes.index(claim["subject"])
    heat = np.full(len(part.rows["named"]), -np.inf)
    heat[part.context["place"][other]] = part.context["heat"][other]
    return np.where(part.rows["named"], heat, -np.inf)


def _by_attribute(run: Run, claim: Claim, part: Part) -> Scores:
    """Severity, or for errors probability of a label that another class beats, among samples with the value."""
    details = claim["details"]
    values = run.manifest(part.shard).table[details["attribute"]].to_pandas().astype(str)
    has = values.to_numpy()[part.rows["sample"] - part.shard.start] == details["value"]
    if details["measure"] != "wrong":
        return np.where(has, part.rows["severity"], -np.inf)
    wrong = (part.rows["role"] == "label") & (part.rows["rank"] > 0)
    return np.where(has & wrong, part.rows["probability"], -np.inf)


def _cells(claim: Claim) -> NDArray[Any]:
    """Which cells of the frame a spot or a zone has."""
    return ZONES[claim["subject"]].ravel() if claim["kind"] == "zone" else np.asarray(claim["details"]["cells"])


_HOW: dict[str, Callable[[Run, Claim, Part], Scores]] = {
    "spot": _by_cells,
    "zone": _by_cells,
    "context": _by_other_class,
    "group": _by_attribute,
}
_CHOSEN = {
    "spot": "The class's mean heat by part of the frame, and its images with most heat in the spot.",
    "zone": "The class's mean heat by part of the frame, and its images with most heat there.",
    "context": "The images with most heat on the other object.",
    "group": "The most severe images of the group.",
    "cluster": "Images from the most typical of the cluster on.",
}
