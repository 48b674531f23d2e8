"""Distillation: a segmentation network learns from label images, weak or true, and is scored on true masks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from audit.datasets import Manifest, Sample
from audit.errors import ImageError, ManifestError, MaskError
from audit.images import Fit, decode_image, map_ahead, read_bytes, read_mask
from audit.models import Preprocessing
from audit.models.device import choose_device
from audit.models.segmenters import Segmenter, build_segmenter, load_backbone, load_weights, save_segmenter
from audit.models.training.segmenters import SegmenterTraining
from audit.progress import Progress, silent
from audit.scores import MaskConfusion
from audit.store.storage.files import sha256
from pipelines.asked import Distillation
from pipelines.training.course import Course
from pipelines.training.labels import (
    Labelled,
    Survey,
    check_classes,
    find_labels,
    most_confident,
    read_pair,
    survey,
    with_confidence,
)

_AHEAD = 16
_WATCHED = "mean_iou"


def distill(
    manifest: Manifest,
    labels: Path,
    asked: Distillation,
    out: Path,
    progress: Progress = silent,
    validation: Manifest | None = None,
    confidence: Path | None = None,
) -> dict[str, Any]:
    """Train a segmentation network on label images and write its checkpoint; returns what a user wants to know.

    What is measured after each epoch, the learning curve and, until it is finished, what a killed training goes on from
    lie beside the checkpoint; see `pipelines.training.course`. Where it is finished already nothing is trained again.

    Args:
        labels: folder of index PNGs: 0 background, i + 1 class i, 255 don't know, which is not learnt from.
        validation: samples with masks, to measure the mean IoU on after each epoch.
        confidence: CSV file with the columns `id` and `confidence`.

    Raises:
        ManifestError: no labels, labels or a validation of other classes, or no confidence of a sample.
        MaskError: labels that do not fit their images, or hold nothing but background.
        ModelError: unknown network, weights that do not fit it, or the loss is not finite.
        RunError: a training to go on with was asked otherwise.
    """
    truth = _with_truth(manifest, validation)
    module = _begin_module(asked, len(manifest.classes))
    learnt = survey(_chosen(manifest, labels, asked, confidence), len(manifest.classes), progress)
    course = Course(out, _asked(manifest, learnt, asked, validation), _WATCHED, asked.patience)
    segmenter = Segmenter(module, manifest.classes, Preprocessing(Fit(asked.size, "letterbox")))
    if not course.is_finished():
        fitting = _fitting(segmenter, learnt, asked)

        def run_epoch() -> dict[str, float]:
            loss = {"loss": fitting.run_epoch(progress)}
            return loss | ({_WATCHED: measure(segmenter, truth, validation).mean_iou()} if validation else {})

        course.follow(fitting.optimisation, asked.epochs, run_epoch, progress)
        module.cpu()
        course.finish(lambda path: save_segmenter(path, segmenter, asked.arch))
    return {
        "samples": len(learnt.samples),
        "unreadable": learnt.unreadable,
        "empty": learnt.empty,
        "validated": len(truth),
        "curve": str(course.curve),
        "record": str(course.record),
        **course.kept,
    }


def measure(segmenter: Segmenter, samples: Sequence[Sample], manifest: Manifest) -> MaskConfusion:
    """Predicted masks held against the true ones of a manifest's samples; what cannot be read takes no part."""
    confusion = MaskConfusion(len(manifest.classes))

    def read(sample: Sample) -> tuple[Any, Any] | None:
        try:
            image = decode_image(read_bytes(sample.image), sample.image)
            return image, read_mask(sample, manifest.mask_kind, image.shape[:2], len(manifest.classes))
        except (ImageError, MaskError):
            return None

    for pair in map_ahead(read, samples, _AHEAD):
        if pair is not None:
            confusion.add(segmenter.mask(pair[0])[0], pair[1])
    return confusion


def _begin_module(asked: Distillation, class_count: int) -> nn.Module:
    module = build_segmenter(asked.arch, class_count, asked.seed)
    if asked.backbone_weights is not None:
        load_backbone(module, asked.backbone_weights)
    if asked.weights is not None:
        load_weights(module, asked.weights)
    return module.to(choose_device(asked.device))


def _chosen(manifest: Manifest, labels: Path, asked: Distillation, confidence: Path | None) -> list[Labelled]:
    """The samples to learn from."""
    if confidence is None and (asked.keep < 1 or asked.weighted):
        raise ManifestError("Expected --confidence beside --keep and --weighted, to know how sure the labels are")
    found = find_labels(manifest, labels)
    return found if confidence is None else most_confident(with_confidence(found, confidence), asked.keep)


def _fitting(segmenter: Segmenter, learnt: Survey, asked: Distillation) -> SegmenterTraining:
    return SegmenterTraining(
        segmenter.module,
        lambda row: read_pair(learnt.samples[row], len(segmenter.classes)),
        np.array([item.confidence if asked.weighted else 1.0 for item in learnt.samples]),
        segmenter.preprocessing,
        epochs=asked.epochs,
        learning_rate=asked.learning_rate,
        batch_size=asked.batch_size,
        seed=asked.seed,
        augment=asked.augment,
    )


def _with_truth(manifest: Manifest, validation: Manifest | None) -> list[Sample]:
    """Samples to measure on: those that have a mask."""
    if validation is None:
        return []
    check_classes(validation.classes, manifest, "to validate on")
    masked = [sample for sample in validation if sample.mask is not None or sample.regions is not None]
    if not masked:
        raise ManifestError("Expected masks to validate on, found none in the manifest of --validate")
    return masked


def _asked(manifest: Manifest, learnt: Survey, asked: Distillation, validation: Manifest | None) -> dict[str, Any]:
    """All that a training's course depends on, as JSON knows it."""
    lines = (f"{item.sample.id}\0{item.confidence}\n" for item in learnt.samples)
    return asdict(asked) | {
        "manifest": manifest.fingerprint,
        "validation": None if validation is None else validation.fingerprint,
        "weights": asked.weights and sha256(Path(asked.weights)),
        "backbone_weights": asked.backbone_weights and sha256(Path(asked.backbone_weights)),
        "learnt": hashlib.sha256("".join(lines).encode()).hexdigest()[:16],
        "pixels": learnt.pixels.tolist(),
    }
