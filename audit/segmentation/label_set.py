"""Label images of a label set, under thresholds: what exports and training read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.segmentation.confidence import confidence
from audit.segmentation.cut import Cut
from audit.segmentation.label_image import Ranked
from audit.segmentation.labels import UNKNOWN, LabelImage
from audit.segmentation.regions import level_counts
from audit.store import Run, Shard
from audit.store.artefacts import named
from audit.store.label_store import LabelStore

LeaveOut = Callable[[Run, Shard], set[tuple[int, int]]]
"""Samples and class ids of a shard whose masks are not believed."""


@dataclass(frozen=True)
class LabelSet:
    """A label set as a source of label images.

    Attributes:
        cut: which pixels belong to a mask.
        least: confidence below which a mask is not believed.
        leave_out: other masks that are not believed; a function of a module, for it is sent to workers. The pixels of
            masks that are not believed are not decided.
    """

    store: LabelStore
    cut: Cut = field(default_factory=Cut)
    least: float = 0.0
    leave_out: LeaveOut | None = None

    @property
    def run(self) -> Run:
        """Whose maps they were made of."""
        return self.store.run

    @property
    def classes(self) -> tuple[str, ...]:
        """The run's."""
        return self.run.classes

    @property
    def shards(self) -> Sequence[Shard]:
        """Those that are finished."""
        return self.store.done()

    def images(self, shard: Shard) -> Iterator[LabelImage]:
        """Of every sample of a shard that did not fail.

        Raises:
            RunError: a part is damaged or missing.
        """
        left_out = self.leave_out(self.run, shard) if self.leave_out else set()
        counts = counts_by_mask(self.store.read("regions", shard, ["sample", "class_id", "pixels"]))
        rows = self.store.read("images", shard).to_pylist()
        for row, sample in zip(rows, self.run.manifest(shard.start, shard.stop), strict=True):
            if row["status"] == "processed":
                yield self._image(row, sample, counts, left_out)

    def digest(self, shard: Shard) -> str:
        """Of the shard's parts, and of what is asked of them."""
        left_out = sorted(self.leave_out(self.run, shard)) if self.leave_out else []
        text = json.dumps([self.about(), asdict(shard), named(self.store.entry(shard)), left_out])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def about(self) -> dict[str, Any]:
        """How they were made and cut."""
        asked = {name: self.store.record[name] for name in ("refine", "roles", "least")}
        left_out = getattr(self.leave_out, "__name__", None)
        return {"labels": self.store.name, **asked, **self.cut.about(), "confident": self.least, "left_out": left_out}

    def _image(
        self,
        row: Mapping[str, Any],
        sample: Sample,
        counts: Mapping[tuple[int, int], NDArray[np.int64]],
        left_out: set[tuple[int, int]],
    ) -> LabelImage:
        ranked, number = Ranked.read(row["pixels"]), row["sample"]
        own = [counts[number, class_id] for class_id in row["class_ids"]]
        levels = [self.cut.level(class_id, part) for class_id, part in zip(row["class_ids"], own, strict=True)]
        sure = dict(zip(row["class_ids"], map(confidence, own, levels, row["probabilities"]), strict=True))
        at = np.array([_NEVER, *levels])[ranked.winner]
        kept, open_ = self.cut.decide(ranked.level, at)
        mask = np.where(kept, ranked.classes(row["class_ids"]), 0).astype(np.int16)
        mask[open_] = UNKNOWN
        for class_id, value in sure.items():
            if value < self.least or (number, class_id) in left_out:
                mask[mask == class_id + 1] = UNKNOWN
        return LabelImage(number, sample, mask, sure, ranked.level)


_NEVER = 1 << 16
"""Level that no pixel reaches, with any band."""


def counts_by_mask(regions: pa.Table) -> dict[tuple[int, int], NDArray[np.int64]]:
    """(sample, class id) -> pixels [256] by level where the class's map is the highest."""
    keys = zip(regions["sample"].to_pylist(), regions["class_id"].to_pylist(), strict=True)
    return dict(zip(keys, level_counts(regions["pixels"]), strict=True))
