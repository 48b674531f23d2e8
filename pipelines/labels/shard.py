"""One shard of a label set, start to commit: what a Dask task does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audit.attribution import Aligned
from audit.attribution.inside.activations import Activations
from audit.datasets import Manifest, Sample, read_objects
from audit.errors import AuditError, ImageError, TransientError
from audit.images import View, cut_to_image, decode_image, map_ahead, read_bytes, upsample
from audit.models import Preprocessing
from audit.segmentation.label_image import Ranked
from audit.segmentation.refine import Step, refine
from audit.segmentation.regions import count_regions
from audit.store import Run, Shard
from audit.store.label_store import LabelStore
from audit.store.layout import LABEL_IMAGES, REGIONS
from audit.store.ledger import Entry
from audit.store.storage.files import sha256
from audit.store.storage.local_copies import local_copy
from audit.store.tables.parts import Rows
from pipelines.asked import Labelling
from pipelines.experiments.model import model_of_run
from pipelines.run.shards.memory import keep_freed_memory
from pipelines.run.shards.shard import Finished, Stopped, describe

_AHEAD = 4
_MOST_MAPS = 255
_OF_TARGETS = ("class_id", "probability", "peak")
_COLUMNS = ["sample", "slot", "role", "status", *_OF_TARGETS]
STRONG = "strong"
"""Key of a label set's record: peak of a raw map from which it counts in full."""
HEAD = "head.pt"
"""File of the head that the step `learnt` reads, in the folder of a label set."""


@dataclass(frozen=True)
class Task:
    """What a worker needs to know.

    Attributes:
        run: path.
        name: of the label set.
    """

    run: str
    name: str
    asked: Labelling


@dataclass(frozen=True)
class Network:
    """What the run's network holds of an image."""

    activations: Activations
    preprocessing: Preprocessing

    def __call__(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Activations, from fine to coarse, that cover the pixels of the image that were seen."""
        pixels, view = self.preprocessing.fit(image)
        with _ONE_AT_A_TIME:
            layers = self.activations(self.preprocessing.normalise(np.array(pixels)[None]))
        return [cut_to_image(layer[0].numpy(), view, *image.shape[:2]) for layer in layers]


def label_shard(task: Task, shard: Shard) -> Finished | Stopped:
    """Refine and commit a shard. What concerns the whole label set comes back as a value."""
    keep_freed_memory()
    try:
        run = Run.open(task.run)
        store = LabelStore.open(run, task.name)
        entry = store.entry(shard)
        if not store.is_current(shard):
            entry = _label(store, shard, task, entry)
    except (AuditError, OSError) as error:
        return Stopped(shard, describe(error))
    assert entry is not None
    return Finished(shard, entry["processed"], entry["failed"])


def _head(store: LabelStore) -> str:
    """File of the head that the label set learnt."""
    path = store.path / HEAD
    return str(local_copy(path, sha256(path), "make the labels again with `camaudit labels`"))


def _label(store: LabelStore, shard: Shard, task: Task, before: Entry | None) -> Entry:
    run, asked = store.run, task.asked
    steps = asked.steps(_head(store) if asked.learn_from else "")
    network = network_of(task.run, asked.model) if asked.needs_model else None
    images, regions = Rows(LABEL_IMAGES), Rows(REGIONS)
    items = _items(store, shard, asked)
    manifest = run.manifest(shard.start, shard.stop)
    most = run.record["config"]["max_pixels"]
    for item, image in map_ahead(partial(_read, most=most), items, _AHEAD):
        if isinstance(image, np.ndarray):
            _add(images, regions, item, image, manifest, steps, network)
        else:
            images.add(**dict.fromkeys(LABEL_IMAGES.names) | item.failed(image))
    failed = sum(status == "failed" for status in images.column("status"))
    transient = sum(images.column("transient"))
    counts = {"processed": len(images) - failed, "failed": failed, "transient": transient}
    return store.commit(shard, {"images": images.columns(), "regions": regions.columns()}, counts, before)


@dataclass(frozen=True)
class _Item:
    """A sample of the run, with the maps that take part.

    Attributes:
        row: of the table `samples`.
        class_ids, probabilities: of the maps.
        maps: [K, h, w], each at most 1.
    """

    sample: Sample
    row: Mapping[str, Any]
    class_ids: list[int]
    probabilities: list[float]
    maps: NDArray[np.floating]

    @property
    def view(self) -> View:
        """What the network saw."""
        return View(self.row["x0"], self.row["y0"], self.row["x1"], self.row["y1"])

    def failed(self, error: str | Exception) -> dict[str, Any]:
        """Its row among the label images, where there is none."""
        passing = isinstance(error, TransientError)
        return {"sample": self.row["sample"], "status": "failed", "reason": str(error), "transient": passing}


def takes_part(target: Mapping[str, Any], asked: Labelling) -> bool:
    """Whether a row of the table `targets` is one that makes labels."""
    return bool(target["role"] in asked.roles and target["status"] == "ok" and target["probability"] >= asked.least)


def _items(store: LabelStore, shard: Shard, asked: Labelling) -> Iterator[_Item]:
    run, strong = store.run, float(store.record.get(STRONG, 0.0))
    targets: dict[int, list[dict[str, Any]]] = {}
    for target in run.read("targets", shard, _COLUMNS).to_pylist():
        if takes_part(target, asked):
            targets.setdefault(target["sample"], []).append(target)
    maps = run.maps(shard.start, shard.stop)
    samples = run.read("samples", shard).to_pylist()
    for row, sample in zip(samples, run.manifest(shard.start, shard.stop), strict=True):
        own = targets.get(row["sample"], [])[:_MOST_MAPS]
        chosen = maps[row["sample"] - shard.start][[target["slot"] for target in own]]
        class_ids, probabilities, peaks = ([target[name] for target in own] for name in _OF_TARGETS)
        yield _Item(
            sample, row, class_ids, probabilities, chosen * _counting(peaks, strong, asked.evidence)[:, None, None]
        )


def _counting(peaks: Sequence[float], strong: float, evidence: float) -> NDArray[np.float32]:
    """[K] what maps count, by their raw peaks; one of `strong` or more in full, all if that is 0."""
    if not strong:
        return np.ones(len(peaks), np.float32)
    shares = np.minimum(np.array(peaks, np.float32) / np.float32(strong), 1)
    return np.asarray(shares ** np.float32(evidence), np.float32)


def _read(item: _Item, most: int) -> tuple[_Item, NDArray[np.uint8] | str | Exception]:
    """The upright image, or why there is none."""
    if item.row["status"] != "processed":
        return item, item.row["reason"]
    try:
        image = decode_image(read_bytes(item.sample.image), item.sample.image, most)
    except (ImageError, TransientError) as error:
        return item, error
    size = (item.row["height"], item.row["width"])
    if image.shape[:2] != size:
        return item, f"{item.sample.image} is {image.shape[:2]} pixels high and wide now, and was {size} in the run"
    return item, image


def _add(
    images: Rows,
    regions: Rows,
    item: _Item,
    image: NDArray[np.uint8],
    manifest: Manifest,
    steps: Sequence[Step],
    network: Network | None,
) -> None:
    size = (image.shape[0], image.shape[1])
    objects = read_objects(item.sample, manifest.mask_kind, size, len(manifest.classes))
    heat = np.clip(upsample(item.maps, item.view, *size), 0, 1)
    if steps and len(heat):
        seen = np.ascontiguousarray(image[item.view.inside(*size)])
        features = None if network is None else network(image)
        heat = refine(steps, heat, seen, features)
    ranked, row = Ranked.of(heat, item.view, size), item.row["sample"]
    truth = objects.mask if objects.rests_on == "mask" else None
    images.add(
        sample=row,
        status="processed",
        reason=objects.reason,
        transient=objects.transient,
        class_ids=item.class_ids,
        probabilities=item.probabilities,
        pixels=ranked.packed(),
    )
    regions.merge(count_regions(row, ranked.winner, ranked.level, item.class_ids, truth))


_ONE_AT_A_TIME = threading.Lock()


@lru_cache(maxsize=1)
def network_of(run: str, model: str | None) -> Network:
    """The network of the run at a path, loaded once a process; its cells lie where the run's maps have them."""
    torch.set_num_threads(1)
    opened = Run.open(run)
    classifier = model_of_run(opened, model)
    aligned = Aligned.name in opened.record["config"]["method"].split(":")
    return Network(Activations(classifier, aligned=aligned), classifier.preprocessing)
