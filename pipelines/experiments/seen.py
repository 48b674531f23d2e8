"""What a network sees, for teaching and for the page of a class: drawn for one image and one class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from audit.attribution import GradCAM
from audit.attribution.inside.visualise import STANDARD, Climb, channel_gradients, class_image, stage_activations
from audit.attribution.methods.backprop import Deconvnet
from audit.drawing.pixels import colour
from audit.errors import ModelError
from audit.images import MAX_PIXELS, decode_image, read_bytes
from audit.models import Classifier
from audit.models.aimed.kind import refuse_aimed
from audit.progress import Progress, silent, tracked
from audit.store.storage.files import write_atomically
from pipelines.experiments.explain import class_of

SEEDS, CHANNELS, TILES = 3, 6, 16
_BRIGHTEST = 99.5


def draw_seen(
    image: str,
    classifier: Classifier,
    class_name: str | None,
    out: Path,
    climb: Climb = STANDARD,
    progress: Progress = silent,
) -> tuple[str, list[float]]:
    """Draw images of a class from three seeds, its strongest channels at the pixels, and the activations of each layer.

    Args:
        class_name: the class; the predicted one if None.
        out: a PNG to write.

    Returns:
        The name of the class, and the logit of each of its images.

    Raises:
        AuditError: the image cannot be read, or the class is unknown.
    """
    refuse_aimed(classifier)
    pixels = decode_image(read_bytes(image), image, MAX_PIXELS)
    fitted, _ = classifier.preprocessing.fit(pixels)
    batch = classifier.preprocessing.normalise(np.stack([fitted])).to(classifier.device)
    class_id = class_of(classifier, batch, class_name)
    seeds = tracked(progress, "climbing", range(SEEDS), SEEDS)
    made = [class_image(classifier, class_id, climb, seed) for seed in seeds]
    figure = _figure(fitted, classifier, batch, class_id, made)
    write_atomically(out, lambda partial: figure.savefig(partial, format="png", dpi=80))
    return classifier.classes[class_id], [logit for _, logit in made]


def _figure(
    fitted: NDArray[np.uint8],
    classifier: Classifier,
    batch: torch.Tensor,
    class_id: int,
    made: list[tuple[torch.Tensor, float]],
) -> Figure:
    name = classifier.classes[class_id]
    stages = stage_activations(classifier, batch, TILES)
    channels = _strongest(classifier, batch, class_id)
    rows: list[list[tuple[str, NDArray[np.uint8]]]] = [
        [("the image", fitted)]
        + [(f"{name}, seed {k}: {logit:.1f}", _picture(pixels)) for k, (pixels, logit) in enumerate(made)],
        _at_the_pixels(classifier, batch, channels),
        [(layer, _grid(held.numpy())) for layer, held in stages.items()],
    ]
    rows = [row for row in rows if row]
    columns = max(map(len, rows))
    figure = Figure(figsize=(2.3 * columns, 2.5 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    for place, row in enumerate(rows):
        for axis, (title, drawn) in zip(axes[place], row, strict=False):
            axis.imshow(drawn)
            axis.set_title(title, fontsize=8)
    return figure


def _strongest(classifier: Classifier, batch: torch.Tensor, class_id: int) -> list[int]:
    """The channels of the target layer that add most to the class here."""
    with GradCAM(classifier) as explain:
        weighted = explain.attribute(batch, lambda _logits: torch.tensor([[class_id]])).weighted
    assert weighted is not None
    added = (weighted.weights[0, 0] * weighted.activation[0]).flatten(1).sum(dim=1)
    return [int(channel) for channel in added.topk(min(CHANNELS, len(added))).indices]


def _at_the_pixels(
    classifier: Classifier, batch: torch.Tensor, channels: list[int]
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Deconvnet of single channels; nothing for a network without a ReLU, which has no such rule."""
    try:
        with Deconvnet(classifier) as method:
            slopes = channel_gradients(method, batch, channels)
    except ModelError:
        return []
    return [(f"channel {k}", _signed(slope.cpu().numpy())) for k, slope in zip(channels, slopes, strict=True)]


def _picture(pixels: torch.Tensor) -> NDArray[np.uint8]:
    return np.asarray(np.rint(pixels.permute(1, 2, 0).numpy() * 255), np.uint8)


def _signed(slope: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A gradient [3, H, W] as a colour picture, grey where it is 0."""
    brightest = np.percentile(np.abs(slope), _BRIGHTEST) or 1.0
    grey = np.clip(0.5 + 0.5 * slope / brightest, 0, 1)
    return np.asarray(np.rint(255 * grey.transpose(1, 2, 0)), np.uint8)


def _grid(held: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Channels [n, h, w] as tiles in four columns, each from its least to its most."""
    low, high = held.min(axis=(1, 2), keepdims=True), held.max(axis=(1, 2), keepdims=True)
    scaled = (held - low) / np.where(high > low, high - low, 1)
    edge = max(held.shape[1] // 12, 1)
    padded = np.pad(scaled, ((0, -len(held) % 4), (0, edge), (0, edge)))
    rows = [np.hstack(list(padded[start : start + 4])) for start in range(0, len(padded), 4)]
    return colour(np.vstack(rows))
