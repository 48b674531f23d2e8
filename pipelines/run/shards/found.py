"""What explaining a batch leaves on the host: of classes of its images, or of the boxes that a detector gives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.attribution import Attribution, Method, choose_targets
from audit.attribution.method import Weighted
from audit.attribution.taps import ONE_AT_A_TIME
from audit.datasets import Sample
from audit.models.aimed.detectors import Detections, Detector
from audit.models.aimed.regions import RegionClassifier, largest
from audit.models.aimed.words import TextAim, WordClassifier
from audit.models.device import fetch

Found = dict[str, NDArray[Any]]
"""What the host keeps of a batch; see `found_of`."""


def explained(
    explain: Method, images: Tensor, samples: Sequence[Sample], roles: Sequence[str], slots: int, weighted: bool
) -> Found:
    """Explain the targets of normalised images [B, 3, H, W]; see `found_of`.

    Args:
        slots: K.
    """
    if isinstance(explain.classifier, Detector):
        return _explained_boxes(explain, explain.classifier, images, slots, weighted)
    if isinstance(explain.classifier, RegionClassifier):
        return _explained_regions(explain, explain.classifier, images, slots, weighted)
    if isinstance(explain.classifier, WordClassifier):
        return _explained_words(explain, explain.classifier, images, samples, slots, weighted)
    choose = partial(choose_targets, roles, [sample.labels for sample in samples], slots=slots)
    return found_of(explain.attribute(images, choose).on(explain.grid), weighted)


def _explained_boxes(explain: Method, detector: Detector, images: Tensor, slots: int, weighted: bool) -> Found:
    """The best `slots` boxes of each image as its targets, their `rank` their place.

    Beside what `found_of` gives there are all boxes of each image [B, M]: `box_class` (-1 where there is none),
    `box_score`, `box` [B, M, 4] in pixels of the input and `candidate` [B, M, 1 + k].
    """
    with ONE_AT_A_TIME:
        boxes = detector.detect(images)
        best = boxes.first(slots)
        # A method of many passes makes batches of its own, which only one image's candidates fit.
        alone = explain.cost(1).forward > 1
        parts = [(images[place : place + 1], best.of(place)) for place in range(len(images))]
        found = [_attributed(explain, detector, *part) for part in (parts if alone else [(images, best)])]
    found_boxes = {
        "box_class": detector.classes_of(boxes.categories),
        "box_score": boxes.scores,
        "box": boxes.boxes,
        "candidate": boxes.candidates,
    }
    targets = found_of(_joined(found), weighted)
    classes = {"class_id": detector.classes_of(best.categories)}
    return targets | fetch(classes | found_boxes) | {"rank": targets["class_id"]}


def _explained_regions(
    explain: Method, classifier: RegionClassifier, images: Tensor, slots: int, weighted: bool
) -> Found:
    """The largest `slots` regions of each image as its targets, their `rank` their place.

    Beside what `found_of` gives there are `labels` [B, h, w]: the class id at each place, -1 for none.
    """
    with ONE_AT_A_TIME:
        labels = classifier.network.segment(images)
        ids = largest(labels, slots)
        # A method of many passes makes batches of its own, which only one image's regions fit.
        step = 1 if explain.cost(1).forward > 1 else len(images)
        parts = []
        for part in (slice(start, start + step) for start in range(0, len(images), step)):
            with classifier.network.aimed(labels[part]):
                parts.append(explain.attribute(images[part], lambda _logits, part=part: ids[part]))  # type: ignore[misc]
    found = found_of(_joined(parts), weighted)
    places = torch.arange(ids.shape[1]).expand(ids.shape)
    return found | fetch({"labels": labels.int()}) | {"rank": places.numpy()}


def _explained_words(
    explain: Method, classifier: WordClassifier, images: Tensor, samples: Sequence[Sample], slots: int, weighted: bool
) -> Found:
    """Of each image the labels that its text says as its targets."""
    texts = [sample.attributes.get("text") or "" for sample in samples]
    said = [
        [label for label in sample.labels if classifier.span(label, text)]
        for sample, text in zip(samples, texts, strict=True)
    ]
    spans = [[classifier.span(label, text) for label in own] for own, text in zip(said, texts, strict=True)]
    ids = torch.tensor([own + [-1] * (slots - len(own)) for own in said])
    step = 1 if explain.cost(1).forward > 1 else len(images)
    parts = []
    with ONE_AT_A_TIME:
        for part in (slice(start, start + step) for start in range(0, len(images), step)):
            padded = [own + [()] * (slots - len(own)) for own in spans[part]]
            places = torch.where(ids[part] >= 0, torch.arange(slots), -1)
            with classifier.network.aimed(TextAim(texts[part], padded)):
                parts.append(explain.attribute(images[part], lambda _logits, places=places: places))  # type: ignore[misc]
    found = found_of(_joined(parts), weighted)
    return found | {"rank": found["class_id"], "class_id": ids.numpy()}


def _attributed(explain: Method, detector: Detector, images: Tensor, aim: Detections) -> Attribution:
    """Each of the detections that are there, by its place, explained."""
    places = torch.arange(aim.categories.shape[1], device=aim.categories.device)
    with detector.network.aimed(aim):
        return explain.attribute(images, lambda _logits: torch.where(aim.categories >= 0, places, -1))


def _joined(parts: Sequence[Attribution]) -> Attribution:
    if len(parts) == 1:
        return parts[0]
    kept = [part.weighted for part in parts if part.weighted is not None]
    return Attribution(
        torch.cat([part.maps for part in parts]),
        torch.cat([part.class_ids for part in parts]),
        torch.cat([part.logits for part in parts]),
        torch.cat([part.probabilities for part in parts]),
        Weighted(*(torch.cat(both) for both in zip(*kept, strict=True))) if kept else None,
    )


def by_peak(raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw maps [B, K, h, w] -> the maps divided by their peaks, and the peaks [B, K].

    NaN where the peak is not positive or anything is not finite: such a map is no evidence.
    """
    peaks = raw.amax(dim=(2, 3))
    usable = raw.isfinite().all(dim=3).all(dim=2) & (peaks > 0)
    return raw / torch.where(usable, peaks, torch.nan)[:, :, None, None], peaks


def found_of(explained: Attribution, weighted: bool) -> Found:
    """What the host keeps of a batch, worked out where the batch lies and brought over in one transfer.

    Arrays by name: `maps` [B, K, h, w] divided by their `peak`; by target [B, K] also `class_id`, `rank` of its logit
    (0 = predicted), `logit`, `probability`, whether all of the map is `finite`. Where asked and there, `weights` and
    `activation`, see `audit.attribution.method.Weighted`.
    """
    maps, peaks = by_peak(explained.maps)
    places = explained.class_ids.clamp(min=0)
    logit = explained.logits.gather(1, places)
    found = {
        "maps": maps,
        "peak": peaks,
        "class_id": explained.class_ids,
        "rank": (explained.logits[:, None] > logit[:, :, None]).sum(dim=2),
        "logit": logit,
        "probability": explained.probabilities.gather(1, places),
        "finite": explained.maps.isfinite().all(dim=3).all(dim=2),
    }
    if weighted and explained.weighted is not None:
        found |= {"weights": explained.weighted.weights, "activation": explained.weighted.activation}
    return fetch(found)
