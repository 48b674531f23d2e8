"""Train a classifier on a manifest: frame the images once, fit, save a checkpoint that `camaudit run` takes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from audit.datasets.manifest import Manifest, Track
from audit.errors import ManifestError
from audit.images import MAX_PIXELS
from audit.models import Preprocessing, build_architecture, save_checkpoint
from audit.models.training import fit
from audit.views import Fit
from pipelines.ahead import map_ahead
from pipelines.attribute import decode_sample
from pipelines.progress import tracked

_AHEAD = 64


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        arch: `torchvision:NAME`, `timm:NAME` or `module:function`, which takes the number of classes.
        preprocessing: of the checkpoint, and of training.
        epochs, learning_rate, batch_size, seed: as `audit.models.training.fit` takes them.
    """

    arch: str
    preprocessing: Preprocessing
    epochs: int = 10
    learning_rate: float = 1e-3
    batch_size: int = 64
    seed: int = 0


def train(manifest: Manifest, training: Training, out: Path) -> dict[str, float | int]:
    """Fit a fresh module to a manifest's labels and write its checkpoint; returns what a user wants to know.

    Where every sample has exactly one label the classifier is trained with a softmax, else with a sigmoid a class.

    Raises:
        ManifestError: no sample has a readable image, or none has labels.
        ModelError: unknown architecture, or the loss is not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        module = build_architecture(training.arch, len(manifest.classes))
    labels = [sample.labels for sample in manifest]
    if not any(labels):
        raise ManifestError("Expected labelled samples to train on, found none; index a data set with labels")
    multi_label = any(len(own) != 1 for own in labels)
    with tempfile.TemporaryDirectory(prefix="camaudit-") as folder:
        store = Path(folder) / "framed.u8"
        images, kept = frame_images(manifest, training.preprocessing.fit, store, tracked("reading"))
        losses = fit(
            module,
            images,
            _label_array([labels[row] for row in kept], len(manifest.classes), multi_label),
            training.preprocessing.normalise,
            epochs=training.epochs,
            learning_rate=training.learning_rate,
            batch_size=training.batch_size,
            seed=training.seed,
            multi_label=multi_label,
            track=tracked("training"),
        )
    activation = "sigmoid" if multi_label else "softmax"
    out.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out, module, training.arch, manifest.classes, training.preprocessing, activation)
    return {"samples": len(kept), "unreadable": len(labels) - len(kept), "loss": losses[-1]}


def frame_images(manifest: Manifest, fit: Fit, store: Path, track: Track) -> tuple[NDArray[np.uint8], list[int]]:
    """Fitted images [n, size, size, 3] of all readable samples, mapped from the file `store`, and their rows."""
    shape = (len(manifest), fit.size, fit.size, 3)
    images = np.memmap(store, np.uint8, "w+", shape=shape)
    kept: list[int] = []
    decoded = map_ahead(lambda item: decode_sample(item[0], item[1], fit, MAX_PIXELS), enumerate(manifest), _AHEAD)
    for sample in track(decoded):
        if sample.pixels is not None:
            images[len(kept)] = sample.pixels
            kept.append(sample.row)
    if not kept:
        raise ManifestError("Expected readable images, found none; check the manifest's root")
    return images[: len(kept)], kept


def default_preprocessing(size: int) -> Preprocessing:
    """ImageNet's normalisation, the image squashed to `size`."""
    return Preprocessing(Fit(size, "squash"))


def _label_array(labels: Sequence[Sequence[int]], class_count: int, multi_label: bool) -> NDArray[np.generic]:
    if not multi_label:
        return np.array([own[0] for own in labels], np.int64)
    array = np.zeros((len(labels), class_count), np.float32)
    for row, own in enumerate(labels):
        array[row, list(own)] = 1
    return array


def use_all_cores() -> None:
    """Let torch use every core: training runs in this process alone."""
    torch.set_num_threads(max(torch.get_num_threads(), torch.multiprocessing.cpu_count()))
