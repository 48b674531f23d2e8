"""Train a classifier on a manifest: frame the images once, fit, save a checkpoint that `camaudit run` takes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from audit.datasets import Manifest, Readable, decode_sample
from audit.errors import ManifestError
from audit.images import Fit, map_ahead
from audit.models import Preprocessing, build_architecture, save_checkpoint
from audit.models.device import choose_device
from audit.models.training.classifiers import ClassifierTraining, FramedImages, classification_loss, predict
from audit.models.weights import load_all_but_head
from audit.progress import Progress, silent, tracked
from audit.scores import mean_average_precision
from audit.store.storage.files import sha256
from pipelines.asked import Training
from pipelines.training.course import Course
from pipelines.training.labels import check_classes

_AHEAD = 64
_WATCHED = "mean_average_precision"


def train(
    manifest: Manifest,
    training: Training,
    out: Path,
    progress: Progress = silent,
    validation: Manifest | None = None,
) -> dict[str, Any]:
    """Fit a module to a manifest's labels and write its checkpoint; returns what a user wants to know.

    Where every sample has exactly one label the classifier is trained with a softmax, else with a sigmoid a class. What
    is measured after each epoch, the learning curve and, until it is finished, what a killed training goes on from lie
    beside the checkpoint; see `pipelines.training.course`.

    Args:
        validation: samples to measure on after each epoch; those held out of `manifest` if None.

    Raises:
        ManifestError: no sample has a readable image, or none has labels; `validation` has other classes.
        ModelError: unknown architecture, weights that do not fit it, or the loss is not finite.
        RunError: a training to go on with was asked otherwise.
    """
    if validation is not None:
        check_classes(validation.classes, manifest, "to validate on")
    module = _begin_module(training, len(manifest.classes))
    multi_label = any(len(sample.labels) != 1 for sample in manifest)
    course = Course(out, _asked(manifest, training, validation), _WATCHED, training.patience)
    with tempfile.TemporaryDirectory(prefix="camaudit-") as folder:
        learnt, measured = _framed(manifest, validation, training, multi_label, Path(folder), progress)
        fitting = ClassifierTraining(
            module,
            learnt,
            epochs=training.epochs,
            learning_rate=training.learning_rate,
            batch_size=training.batch_size,
            seed=training.seed,
            augment=training.augment,
            balanced=training.balanced,
        )

        def run_epoch() -> dict[str, float]:
            loss = fitting.run_epoch(progress)
            return {"loss": loss} | ({} if measured is None else measure(module, measured))

        course.follow(fitting.optimisation, training.epochs, run_epoch, progress)
    activation = "sigmoid" if multi_label else "softmax"
    saved = (module.cpu(), training.arch, manifest.classes, training.preprocessing, activation)
    course.finish(lambda path: save_checkpoint(path, *saved))
    listed = len(manifest) - len(_held_out(manifest, training, validation))
    return {
        "samples": len(learnt.images),
        "unreadable": listed - len(learnt.images),
        "validated": 0 if measured is None else len(measured.images),
        "curve": str(course.curve),
        "record": str(course.record),
        **course.kept,
    }


def measure(module: nn.Module, data: FramedImages) -> dict[str, float]:
    """Loss and mean average precision on images, and with one class an image accuracy; NaN where none has a class."""
    logits = predict(module, data.images, data.normalise)
    loss = {"validation_loss": classification_loss(logits, data.labels).item()}
    if data.multi_label:
        return loss | {_WATCHED: mean_average_precision(logits.numpy(), data.labels > 0)}
    truth = data.labels[:, None] == np.arange(logits.shape[1])
    # In 64 bits, where probabilities near 0 or 1 do not become equal.
    precision = mean_average_precision(logits.double().softmax(dim=1).numpy(), truth)
    return loss | {_WATCHED: precision, "accuracy": float((logits.argmax(dim=1).numpy() == data.labels).mean())}


def frame_images(
    manifest: Manifest, fit: Fit, store: Path, progress: Progress = silent, rows: Sequence[int] | None = None
) -> tuple[NDArray[np.uint8], list[int]]:
    """Fitted images [n, size, size, 3] of all readable samples, mapped from the file `store`, and their rows.

    Args:
        rows: of the samples to take; all if None.
    """
    wanted = range(len(manifest)) if rows is None else rows
    chosen = frozenset(wanted)
    images = np.memmap(store, np.uint8, "w+", shape=(len(wanted), fit.size, fit.size, 3))
    kept: list[int] = []
    samples = ((row, sample) for row, sample in enumerate(manifest) if row in chosen)
    decoded = map_ahead(lambda item: decode_sample(*item, fit), samples, _AHEAD)
    for image in tracked(progress, "reading", decoded, len(wanted)):
        if isinstance(image, Readable):
            images[len(kept)] = image.pixels
            kept.append(image.row)
    if not kept:
        raise ManifestError("Expected readable images, found none; check the manifest's root")
    return images[: len(kept)], kept


def default_preprocessing(size: int) -> Preprocessing:
    """ImageNet's normalisation, the image squashed to `size`."""
    return Preprocessing(Fit(size, "squash"))


def _begin_module(training: Training, class_count: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        module = build_architecture(training.arch, class_count)
    if training.weights is not None:
        load_all_but_head(module, training.weights)
    return module.to(choose_device(training.device))


def _asked(manifest: Manifest, training: Training, validation: Manifest | None) -> dict[str, Any]:
    """All that a training's course depends on, as JSON knows it."""
    preprocessing = training.preprocessing
    fit = [preprocessing.fit.size, preprocessing.fit.mode, preprocessing.fit.resize, preprocessing.fit.interpolation]
    return asdict(replace(training, preprocessing=None)) | {  # type: ignore[arg-type]
        "preprocessing": [fit, list(preprocessing.mean), list(preprocessing.std)],
        "manifest": manifest.fingerprint,
        "validation": None if validation is None else validation.fingerprint,
        "weights": training.weights and sha256(Path(training.weights)),
    }


def _framed(
    manifest: Manifest,
    validation: Manifest | None,
    training: Training,
    multi_label: bool,
    folder: Path,
    progress: Progress,
) -> tuple[FramedImages, FramedImages | None]:
    """Images to learn from, and those to measure on, if any."""
    if not any(sample.labels for sample in manifest):
        raise ManifestError("Expected labelled samples to train on, found none; index a data set with labels")

    def framed(source: Manifest, name: str, rows: Sequence[int] | None = None) -> FramedImages:
        fit = training.preprocessing.fit
        images, kept = frame_images(source, fit, folder / f"{name}.u8", progress, rows)
        return FramedImages(images, _labels(source, kept, multi_label), training.preprocessing.normalise)

    if validation is not None:
        return framed(manifest, "learnt"), framed(validation, "measured")
    out = _held_out(manifest, training, validation)
    if not out:
        return framed(manifest, "learnt"), None
    rest = np.setdiff1d(np.arange(len(manifest)), out).tolist()
    return framed(manifest, "learnt", rest), framed(manifest, "measured", out)


def _held_out(manifest: Manifest, training: Training, validation: Manifest | None) -> list[int]:
    """Rows that are not learnt from, drawn by the seed."""
    if validation is not None or not training.hold_out:
        return []
    count = round(training.hold_out * len(manifest))
    if not 0 < count < len(manifest):
        raise ManifestError(f"Expected --hold-out to leave samples on both sides, got {count} of {len(manifest)}")
    # A generator of its own: the order of the training does not hang on what is held out.
    drawn = np.random.default_rng([training.seed, 1]).permutation(len(manifest))[:count]
    return [int(row) for row in np.sort(drawn)]


def _labels(manifest: Manifest, rows: Sequence[int], multi_label: bool) -> NDArray[np.generic]:
    labels = [sample.labels for sample in manifest]
    if not multi_label:
        if any(len(labels[row]) != 1 for row in rows):
            raise ManifestError("Expected one label a sample to validate on, as the training manifest has")
        return np.array([labels[row][0] for row in rows], np.int64)
    array = np.zeros((len(rows), len(manifest.classes)), np.float32)
    for place, row in enumerate(rows):
        array[place, list(labels[row])] = 1
    return array
