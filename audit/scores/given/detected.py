"""The boxes that a detector gave for a sample: what is wrong with each, and the object that a target brings along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.datasets.objects import Corners, Objects, OwnObject
from audit.errors import RunError
from audit.scores.boxes import Boxes
from audit.scores.given.errors import MISSED, Judged, Truths, judge_boxes, true_objects
from audit.store import Run
from audit.store.layout import DETECTIONS
from audit.store.tables.parts import Column, Rows

DETECTION = "detection"
CORNERS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class Detected:
    """Boxes of a sample [n], by falling score.

    Attributes:
        slots: [n] of the target; -1 of boxes that are not explained.
        class_ids, scores: [n].
        boxes: [n, 4] in upright pixels.
        candidates: [n] what the detector is asked again by.
    """

    slots: NDArray[np.int64]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    boxes: Boxes
    candidates: Sequence[Sequence[float]]

    @classmethod
    def at(cls, rows: Mapping[str, Column], places: Sequence[int]) -> Detected:
        """Those at some places of columns of the table `detections`; objects that were missed are left out."""
        kept = [place for place in places if rows["score"][place] is not None]
        columns = {name: [rows[name][place] for place in kept] for name in rows}
        slots = np.array([-1 if slot is None else slot for slot in columns["slot"]], np.int64)
        boxes = np.array([columns[name] for name in CORNERS], float).T.reshape(-1, 4)
        scores = np.array(columns["score"], np.float32)
        return cls(slots, np.array(columns["class_id"], np.int64), scores, boxes, columns["candidate"])

    def asked(self, slot: int) -> Sequence[float]:
        """The candidate of a target."""
        return self.candidates[int(np.flatnonzero(self.slots == slot)[0])]

    def beside(self, row: int, sample: Sample, objects: Objects, class_count: int) -> Beside:
        """The boxes beside the sample's objects, as far as these are known.

        Args:
            row: of the sample in the manifest.
        """
        truths = true_objects(sample, objects, class_count)
        judged = None if truths is None else judge_boxes(self.boxes, self.class_ids, truths)
        return Beside(row, self, truths, judged)


@dataclass(frozen=True)
class Beside:
    """A sample's detections beside its objects; None where these are not known."""

    row: int
    detected: Detected
    truths: Truths | None
    judged: Judged | None

    def own(self, slots: NDArray[np.integer]) -> list[OwnObject]:
        """What the targets at some slots [k] bring along: their boxes."""
        places = {slot: place for place, slot in enumerate(self.detected.slots.tolist()) if slot >= 0}
        return [self._own(places[slot]) for slot in slots.tolist()]

    def _own(self, place: int) -> OwnObject:
        meant = None
        if self.truths is not None and self.judged is not None:
            truth = int(self.judged.truth[place])
            if truth >= 0 and self.truths.class_ids[truth] == self.detected.class_ids[place]:
                meant = _corners(self.truths.boxes[truth])
        return OwnObject(DETECTION, _corners(self.detected.boxes[place]), meant)

    def rows(self) -> Rows:
        """Of the table `detections`."""
        rows, known = Rows(DETECTIONS), self.judged
        for place, slot in enumerate(self.detected.slots.tolist()):
            rows.add(
                sample=self.row,
                slot=slot if slot >= 0 else None,
                class_id=int(self.detected.class_ids[place]),
                score=float(self.detected.scores[place]),
                **dict(zip(CORNERS, self.detected.boxes[place].tolist(), strict=True)),
                candidate=list(map(float, self.detected.candidates[place])),
                error=None if known is None else known.errors[place],
                iou=None if known is None else float(known.ious[place]),
                true_class=self._true_class(place),
            )
        for values in self._missed():
            rows.add(**values)
        return rows

    def _true_class(self, place: int) -> int | None:
        """Of the object that a box's error rests on."""
        if self.truths is None or self.judged is None or self.judged.truth[place] < 0:
            return None
        return int(self.truths.class_ids[self.judged.truth[place]])

    def _missed(self) -> list[dict[str, Any]]:
        if self.truths is None or self.judged is None:
            return []
        nothing = dict.fromkeys(("slot", "score", "candidate", "iou"))
        return [
            {
                "sample": self.row,
                "class_id": int(self.truths.class_ids[place]),
                "error": MISSED,
                "true_class": int(self.truths.class_ids[place]),
                **nothing,
                **dict(zip(CORNERS, self.truths.boxes[place].tolist(), strict=True)),
            }
            for place in np.flatnonzero(self.judged.missed)
        ]


@dataclass(frozen=True)
class Kept:
    """The detection that a target of a run is.

    Attributes:
        box: in upright pixels.
        candidate: what the detector is asked again by.
        error: what is wrong with it, where that is known.
    """

    box: Corners
    candidate: tuple[float, ...]
    error: str | None

    def among(self, objects: Objects, class_id: int, size: tuple[int, int]) -> tuple[Objects, int]:
        """Its box among the objects of its image, and what class that is there; see `OwnObject.among`."""
        return OwnObject(DETECTION, self.box).among(objects, class_id, size)


def detection_of(run: Run, row: int, slot: int) -> Kept | None:
    """The detection that a target is; None in a run of a classifier.

    Args:
        row: of the sample in the manifest.

    Raises:
        RunError: the table is damaged, or has no such target.
    """
    shard = run.shards[row // run.record["shard_size"]]
    if run.part("detections", shard) is None:
        return None
    table = run.read("detections", shard, ["sample", "slot", *CORNERS, "candidate", "error"])
    found = table.filter((pc.field("sample") == row) & (pc.field("slot") == slot)).to_pylist()
    if not found:
        raise RunError(f"Expected the box of target {row}:{slot} of {run.path}, found none; audit again")
    corners = tuple(float(found[0][name]) for name in CORNERS)
    return Kept(corners, tuple(found[0]["candidate"]), found[0]["error"])  # type: ignore[arg-type]


def _corners(box: NDArray[np.floating]) -> Corners:
    x0, y0, x1, y1 = map(float, box)
    return x0, y0, x1, y1
