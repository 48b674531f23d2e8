"""Train the head of the step `learnt` on the confident heat of a label set."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from audit.datasets import Sample
from audit.errors import ImageError, RunError, TransientError
from audit.images import decode_image, read_bytes
from audit.progress import Progress, silent, tracked
from audit.segmentation.label_image import Ranked
from audit.segmentation.refine.learnt import Seeds, Training, save_head, train_head
from audit.store import Run
from audit.store.label_store import LabelStore, run_and_name
from audit.store.layout import LEVELS
from audit.store.storage.objects import Location
from pipelines.asked import Labelling
from pipelines.labels.shard import network_of

MOST_IMAGES = 2000


def learn_head(asked: Labelling, out: Location, progress: Progress = silent) -> None:
    """Train a head on `asked.learn_from`, as RUN:NAME, and write it.

    No mask is seen. Of more than `MOST_IMAGES` label images so many are taken, evenly.

    Raises:
        RunError: there is no such label set, or none of its images can be read.
        ModelError: its heat tells nothing apart, or the model is code that was not named again.
    """
    run, name = run_and_name(str(asked.learn_from))
    store = LabelStore.open(Run.open(run), str(name))
    network = network_of(store.run.address, asked.model)
    chosen = _chosen(store)
    seeds = Seeds(Training(), len(chosen))
    for sample, ranked in tracked(progress, "gathering seeds", _labels(store, chosen), len(chosen)):
        image = _image(sample, ranked.level.shape)
        if image is not None:
            heat = np.divide(ranked.level[None], LEVELS - 1, dtype=np.float32)
            seeds.add(heat, network(image))
    if not seeds.channels:
        raise RunError(f"Expected label images to learn from in {store.path}, found none whose image can be read")
    save_head(train_head(seeds), out)


def _chosen(store: LabelStore) -> list[int]:
    """Samples with a label image."""
    tables = (store.read("images", shard, ["sample", "status"]).to_pylist() for shard in store.done())
    rows = [row["sample"] for table in tables for row in table if row["status"] == "processed"]
    return [rows[place] for place in np.unique(np.linspace(0, len(rows) - 1, MOST_IMAGES).astype(int))] if rows else []


def _labels(store: LabelStore, chosen: list[int]) -> Iterator[tuple[Sample, Ranked]]:
    wanted = set(chosen)
    for shard in store.done():
        rows = store.read("images", shard, ["sample", "pixels"]).to_pylist()
        for row, sample in zip(rows, store.run.manifest(shard.start, shard.stop), strict=True):
            if row["sample"] in wanted:
                yield sample, Ranked.read(row["pixels"])


def _image(sample: Sample, size: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The upright image; None where it cannot be read, or is another one now."""
    try:
        image = decode_image(read_bytes(sample.image), sample.image)
    except (ImageError, TransientError):
        return None
    return image if image.shape[:2] == size else None
