"""Samples on their way to the network: read and decoded ahead of it, each accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from audit.datasets import Objects, Readable, Sample, Unreadable, decode_sample
from audit.datasets.decoding import Jpegs, decode_samples
from audit.images import MAX_PIXELS, Fit, batches, map_ahead
from pipelines.run.shards.scoring import ReadObjects

QUARANTINED = "killed the worker that read it"
_Items = Sequence[tuple[int, Sample]]
"""Rows of the manifest and their samples."""


@dataclass(frozen=True)
class Prepared:
    """A sample ready to be explained.

    Attributes:
        objects: what is known of them, nothing where it is not to be scored; None where that is still to be read.
    """

    image: Readable
    objects: Objects | None


@dataclass(frozen=True)
class Reader:
    """How the samples of a shard are read.

    Attributes:
        objects: reads what is known of their objects; None where they are not to be scored.
        later: whether objects are left to who scores.
        before: called with a row before it is touched; samples are then taken one by one, nothing ahead.
        quarantined: rows that are not touched.
        jpegs: another decoder than Pillow's, which is given a batch at a time.
        threads: that read; decoding lets go of the interpreter.
    """

    fit: Fit
    objects: ReadObjects | None = None
    max_pixels: int = MAX_PIXELS
    later: bool = False
    before: Callable[[int], None] | None = None
    quarantined: frozenset[int] = frozenset()
    jpegs: Jpegs | None = None
    threads: int = 1

    def ahead(self, items: Iterable[tuple[int, Sample]], size: int) -> Iterator[Prepared | Unreadable]:
        """Samples in order, up to two batches of `size` read before they are asked for, by threads."""
        together = size if self.jpegs is not None and self.before is None else 1
        ahead = 0 if self.before is not None else 2 * size // together
        lists = batches(items, together, lambda _item: None)
        return chain.from_iterable(map_ahead(self._prepare, lists, ahead, self.threads))

    def _prepare(self, items: _Items) -> list[Prepared | Unreadable]:
        taken = [item for item in items if item[0] not in self.quarantined]
        if self.before is not None:
            for row, _ in taken:
                self.before(row)
        found = {item.row: item for item in self._decode(taken)}
        return [self._with_objects(found.get(row) or Unreadable(row, sample, QUARANTINED)) for row, sample in items]

    def _decode(self, items: _Items) -> list[Readable | Unreadable]:
        if self.jpegs is not None:
            return decode_samples(items, self.fit, self.jpegs, self.max_pixels)
        return [decode_sample(row, sample, self.fit, self.max_pixels) for row, sample in items]

    def _with_objects(self, item: Readable | Unreadable) -> Prepared | Unreadable:
        if isinstance(item, Unreadable):
            return item
        if self.later:
            return Prepared(item, None)
        return Prepared(item, self.objects(item.sample, item.size) if self.objects else Objects())
