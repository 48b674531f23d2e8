"""Label images: what a network is trained on. Exports, training and pages read them by one door, `LabelSource`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.images import View
from audit.segmentation.thresholds import winning_class
from audit.store import Run, Shard, layout
from audit.store.artefacts import named, table_of

UNKNOWN = -1
"""Value of pixels of which it is not said what they are; 255 in index images."""


@dataclass(frozen=True)
class LabelImage:
    """What is said of every pixel of one image.

    Attributes:
        row: of the sample in the manifest.
        sample: its id, image and labels, paths joined to the root.
        mask: [H, W] of the upright image: 0 background, i + 1 class i, `UNKNOWN`.
        confidence: class id -> 0..1, of its mask; of classes with pixels in `mask` at the least.
        soft: [H, W] level 0..255 of the highest map, 0 outside the view; None where no map is kept.
    """

    row: int
    sample: Sample
    mask: NDArray[np.int16]
    confidence: Mapping[int, float]
    soft: NDArray[np.uint8] | None = None

    @property
    def class_ids(self) -> list[int]:
        """Classes with pixels, ascending."""
        return [int(value) - 1 for value in np.unique(self.mask) if value > 0]


class LabelSource(Protocol):
    """Gives label images shard by shard. It is sent to workers, so it holds paths and numbers, no arrays."""

    @property
    def run(self) -> Run:
        """Whose samples they are of."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a class id is a position here."""

    @property
    def shards(self) -> Sequence[Shard]:
        """Those that are finished."""

    def images(self, shard: Shard) -> Iterator[LabelImage]:
        """Of every sample of a shard that did not fail, one at a time."""

    def digest(self, shard: Shard) -> str:
        """Changes when label images of the shard do."""

    def about(self) -> dict[str, Any]:
        """How they were made, as JSON."""


@dataclass(frozen=True)
class ThresholdedRun:
    """Label images from a run's plain maps: the class of the highest map where that reaches one threshold.

    A mask's confidence is the mean of its map over it.

    Attributes:
        threshold: 0..1.
        roles: of the targets that take part. A map without evidence takes no part.
    """

    run: Run
    threshold: float
    roles: tuple[str, ...] = ("label",)

    @property
    def classes(self) -> tuple[str, ...]:
        """The run's."""
        return self.run.classes

    @property
    def shards(self) -> Sequence[Shard]:
        """The run's finished ones."""
        return self.run.done()

    def images(self, shard: Shard) -> Iterator[LabelImage]:
        """Of every processed sample of a shard.

        Raises:
            RunError: the shard's maps or tables are damaged.
        """
        rows = self.run.read("samples", shard).to_pylist()
        maps = self.run.maps(shard.start, shard.stop)
        taking_part = self._targets(shard)
        for row, sample in zip(rows, self.run.manifest(shard.start, shard.stop), strict=True):
            if row["status"] == "processed":
                targets = taking_part.get(row["sample"], [])
                own = maps[row["sample"] - shard.start][[target["slot"] for target in targets]]
                yield self._image(row, sample, own, [target["class_id"] for target in targets])

    def digest(self, shard: Shard) -> str:
        """Of the shard's maps and targets, and of what is asked of them."""
        artefacts = named(self.run.entry(shard))
        kept = {name: sha for name, sha in artefacts.items() if table_of(name) in _DECIDING}
        text = json.dumps([self.run.record["manifest"]["fingerprint"], asdict(shard), kept, self.about()])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def about(self) -> dict[str, Any]:
        """Threshold and roles."""
        return {"labels": "maps", "threshold": self.threshold, "roles": list(self.roles)}

    def _targets(self, shard: Shard) -> dict[int, list[dict[str, Any]]]:
        """Targets that take part, by sample."""
        chosen: dict[int, list[dict[str, Any]]] = {}
        columns = ["sample", "slot", "class_id", "role", "status"]
        for target in self.run.read("targets", shard, columns).to_pylist():
            if target["role"] in self.roles and target["status"] == "ok":
                chosen.setdefault(target["sample"], []).append(target)
        return chosen

    def _image(
        self, row: Mapping[str, Any], sample: Sample, maps: NDArray[np.floating], class_ids: list[int]
    ) -> LabelImage:
        size = (row["height"], row["width"])
        mask, soft = np.zeros(size, np.int16), np.zeros(size, np.uint8)
        if not len(maps):
            return LabelImage(row["sample"], sample, mask, {}, soft)
        view = View(row["x0"], row["y0"], row["x1"], row["y1"])
        inside = view.inside(*size)
        winner, highest = winning_class(maps, np.asarray(class_ids), view, size)
        mask[inside] = np.where(highest >= self.threshold, winner, 0)
        soft[inside] = np.clip(highest * layout.LEVELS, 0, layout.LEVELS - 1)
        confidence = {
            class_id: float(np.clip(highest[mask[inside] == class_id + 1], 0, 1).mean())
            for class_id in sorted(set(class_ids))
            if (mask == class_id + 1).any()
        }
        return LabelImage(row["sample"], sample, mask, confidence, soft)


_DECIDING = (layout.MAPS, "samples", "targets")
