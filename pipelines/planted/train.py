"""Train a classifier on a manifest: frame the images once, fit, save a checkpoint that `camaudit run` takes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from audit.datasets import Manifest, Readable, decode_sample
from audit.errors import ManifestError, ModelError
from audit.images import Fit, map_ahead
from audit.models import Preprocessing, build_architecture, save_checkpoint
from audit.models.sources import CHECKPOINT_FORMAT, load_state
from audit.models.training import fit
from audit.progress import Progress, silent, tracked
from pipelines.asked import Training

_AHEAD = 64


def train(manifest: Manifest, training: Training, out: Path, progress: Progress = silent) -> dict[str, float | int]:
    """Fit a module to a manifest's labels and write its checkpoint; returns what a user wants to know.

    Where every sample has exactly one label the classifier is trained with a softmax, else with a sigmoid a class.

    Raises:
        ManifestError: no sample has a readable image, or none has labels.
        ModelError: unknown architecture, weights that do not fit it, or the loss is not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        module = build_architecture(training.arch, len(manifest.classes))
    if training.weights is not None:
        load_all_but_head(module, training.weights)
    multi_label = any(len(sample.labels) != 1 for sample in manifest)
    done = _fit_labels(module, manifest, training, multi_label, progress)
    activation = "sigmoid" if multi_label else "softmax"
    out.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out, module, training.arch, manifest.classes, training.preprocessing, activation)
    return done


def load_all_but_head(module: nn.Module, path: str) -> None:
    """Start a module from a state dict or checkpoint; a head for another number of classes stays as it is.

    Raises:
        ModelError: more than one layer does not fit.
    """
    state = load_state(path)
    state = state.get("state", state) if state.get("format") == CHECKPOINT_FORMAT else state
    fresh = module.state_dict()
    fitting = {name for name in fresh.keys() & state.keys() if fresh[name].shape == state[name].shape}
    layers = {name.rpartition(".")[0] for name in (fresh.keys() | state.keys()) - fitting}
    if len(layers) > 1:
        raise ModelError(f"Expected weights of {type(module).__name__}, its head aside, got others in {path}")
    module.load_state_dict(fresh | {name: state[name] for name in fitting})


def _fit_labels(
    module: nn.Module, manifest: Manifest, training: Training, multi_label: bool, progress: Progress
) -> dict[str, float | int]:
    """Frame the images once, fit the module to the labels."""
    labels, preprocessing = [sample.labels for sample in manifest], training.preprocessing
    if not any(labels):
        raise ManifestError("Expected labelled samples to train on, found none; index a data set with labels")
    with tempfile.TemporaryDirectory(prefix="camaudit-") as folder:
        images, kept = frame_images(manifest, preprocessing.fit, Path(folder) / "framed.u8", progress)
        losses = fit(
            module,
            images,
            _label_array([labels[row] for row in kept], len(manifest.classes), multi_label),
            preprocessing.normalise,
            epochs=training.epochs,
            learning_rate=training.learning_rate,
            batch_size=training.batch_size,
            seed=training.seed,
            multi_label=multi_label,
            progress=progress,
        )
    return {"samples": len(kept), "unreadable": len(labels) - len(kept), "loss": losses[-1]}


def frame_images(
    manifest: Manifest, fit: Fit, store: Path, progress: Progress = silent
) -> tuple[NDArray[np.uint8], list[int]]:
    """Fitted images [n, size, size, 3] of all readable samples, mapped from the file `store`, and their rows."""
    shape = (len(manifest), fit.size, fit.size, 3)
    images = np.memmap(store, np.uint8, "w+", shape=shape)
    kept: list[int] = []
    decoded = map_ahead(lambda item: decode_sample(*item, fit), enumerate(manifest), _AHEAD)
    for image in tracked(progress, "reading", decoded, len(manifest)):
        if isinstance(image, Readable):
            images[len(kept)] = image.pixels
            kept.append(image.row)
    if not kept:
        raise ManifestError("Expected readable images, found none; check the manifest's root")
    return images[: len(kept)], kept


def default_preprocessing(size: int) -> Preprocessing:
    """ImageNet's normalisation, the image squashed to `size`."""
    return Preprocessing(Fit(size, "squash"))


def _label_array(labels: Sequence[Sequence[int]], class_count: int, multi_label: bool) -> NDArray[np.generic]:
    if not multi_label:
        return np.array([class_ids[0] for class_ids in labels], np.int64)
    array = np.zeros((len(labels), class_count), np.float32)
    for row, class_ids in enumerate(labels):
        array[row, list(class_ids)] = 1
    return array


def use_all_cores() -> None:
    """Let torch use every core: training runs in this process alone."""
    torch.set_num_threads(max(torch.get_num_threads(), torch.multiprocessing.cpu_count()))
