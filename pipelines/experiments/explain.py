"""One image under one or more methods, as a picture: to see what a method shows before a run is made with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from audit.attribution import make_method
from audit.attribution.asked import explain_asked, surest
from audit.drawing.pixels import overlay, shrink
from audit.errors import ModelError
from audit.images import MAX_PIXELS, View, cut, decode_image, read_bytes
from audit.models import Classifier
from audit.models.aimed.kind import Aimed, Asked
from audit.models.aimed.words import WordClassifier
from audit.progress import Progress, silent, tracked
from audit.store import Run
from audit.store.storage.files import write_atomically
from pipelines.experiments.source import class_index

_COLUMNS = 6
_LONGEST = 480
_BRIGHTEST = 99.5
"""Percentile of a map that is drawn as its peak: single pixels of a gradient would leave the rest dark."""


@dataclass(frozen=True)
class Panel:
    """A method's map of the image, or why it has none.

    Attributes:
        heat: [h, w] float32 raw.
    """

    method: str
    heat: NDArray[np.float32] | None
    reason: str = ""


def explain_image(
    image: str,
    classifier: Classifier,
    methods: Sequence[str],
    class_name: str | None,
    out: Path,
    progress: Progress = silent,
    text: str | None = None,
) -> tuple[str, list[Panel]]:
    """Draw an image under several methods.

    Args:
        class_name: what to explain; the predicted class if None. Of a detector its surest box, of a network
            that segments its largest region, or those of the class.
        out: a PNG to write.
        text: that belongs to the image, for a network that reads one.

    Returns:
        The name of the class, and the panels that were drawn.

    Raises:
        AuditError: the image cannot be read, or the class is unknown.
    """
    pixels = decode_image(read_bytes(image), image, MAX_PIXELS)
    fitted, view = classifier.preprocessing.fit(pixels)
    given = cut(fitted, classifier.preprocessing.fit, pixels.shape[:2])
    batch = classifier.preprocessing.normalise(np.stack([given])).to(classifier.device)
    asked = _asked(classifier, batch, class_name, text)
    panels = [_panel(name, classifier, batch, asked) for name in tracked(progress, "explaining", methods)]
    named = classifier.classes[asked.class_id]
    figure = _draw(pixels, view, panels, named)
    write_atomically(out, lambda partial: figure.savefig(partial, format="png", dpi=80))
    return named, panels


def _asked(classifier: Classifier, batch: torch.Tensor, name: str | None, text: str | None) -> Asked:
    reads = isinstance(classifier, WordClassifier)
    if reads != (text is not None):
        wanted = "the image's text for a network that reads one" if reads else "no text for a network of images alone"
        raise ModelError(f"Expected {wanted}, got {'none; give it with --text' if reads else repr(text)}")
    if name is not None and not isinstance(classifier, Aimed):
        return Asked(class_of(classifier, batch, name))
    texts = None if text is None else [text]
    (asked,) = surest(classifier, batch, None if name is None else class_index(classifier.classes, name), texts)
    if asked is None and text is not None:
        wanted = name or f"a word or phrase among {', '.join(classifier.classes[:20])}"
        raise ModelError(f"Expected a text that says {wanted}, got {text!r}")
    if asked is None:
        wanted = f"something named {name}" if name else "something"
        kind = classifier.kind if isinstance(classifier, Aimed) else "the network"
        raise ModelError(f"Expected {wanted} in the image to explain, but {kind} gives none here")
    return asked


def text_of(run: Run, image: str) -> str | None:
    """The text of a run's sample, known by its id or its image's path; None where there is no such, or no text."""
    found = (sample for sample in run.manifest() if image in (sample.id, sample.image))
    return next((sample.attributes.get("text") for sample in found), None)


def class_of(classifier: Classifier, batch: torch.Tensor, name: str | None) -> int:
    """The class that is named, or else the predicted one.

    Raises:
        AuditError: the class is unknown.
    """
    if name is None:
        with torch.inference_mode():
            return int(classifier.class_logits(classifier.module(batch)).argmax())
    return class_index(classifier.classes, name)


def _panel(name: str, classifier: Classifier, batch: torch.Tensor, asked: Asked) -> Panel:
    try:
        with make_method(name, classifier) as explain:
            maps = explain_asked(explain, batch, [asked])
    except (ModelError, ValueError) as error:  # a method that this network, or this size, does not admit
        return Panel(name, None, str(error))
    return Panel(name, maps[0, 0].cpu().numpy())


def _draw(pixels: NDArray[np.uint8], view: View, panels: Sequence[Panel], title: str) -> Figure:
    rows = ceil((len(panels) + 1) / _COLUMNS)
    columns = min(len(panels) + 1, _COLUMNS)
    figure = Figure(figsize=(2.2 * columns, 2.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    axes[0].imshow(shrink(pixels, _LONGEST))
    axes[0].set_title(title, fontsize=9, fontweight="bold")
    for axis, panel in zip(axes[1:], panels, strict=False):
        axis.set_title(panel.method, fontsize=9)
        if panel.heat is None:
            axis.text(0.5, 0.5, "not for this network", ha="center", va="center", fontsize=7, transform=axis.transAxes)
        else:
            axis.imshow(shrink(overlay(pixels, displayed(panel.heat), view, 0.65), _LONGEST))
    return figure


def displayed(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """A raw map for the eye: its positive part, 1 at its brightest; all 0 where nothing speaks for the class."""
    positive = np.maximum(np.nan_to_num(heat), 0)
    brightest = np.percentile(positive, _BRIGHTEST) or positive.max()
    scaled: NDArray[np.float32] = np.clip(positive / (brightest or 1), 0, 1)
    return scaled
