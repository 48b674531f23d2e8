"""Explaining targets of a run again: of each image one, a class or what the network gave for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audit.attribution.method import Method
from audit.attribution.taps import ONE_AT_A_TIME
from audit.models.aimed.kind import Aimed, Asked
from audit.models.classifier import Classifier


def surest(
    classifier: Classifier, images: Tensor, class_id: int | None = None, texts: Sequence[str] | None = None
) -> list[Asked | None]:
    """Of each image [B, 3, H, W] the class that it is named, or the surest thing that the network gives for it.

    None where it gives nothing.

    Args:
        class_id: the class that the thing is to be of.
        texts: [B], for a network that reads one beside each image.
    """
    if isinstance(classifier, Aimed):
        return classifier.surest(images, class_id, texts)
    with torch.inference_mode():
        named = classifier.class_logits(classifier.module(images)).argmax(dim=1)
    return [Asked(int(one)) for one in named]


def explain_asked(explain: Method, images: Tensor, asked: Sequence[Asked]) -> Tensor:
    """Raw maps [B, 1, h, w] of images [B, 3, H, W], each of its own target; on the grid of square inputs."""
    classifier = explain.classifier
    if not isinstance(classifier, Aimed):
        return _maps(explain, images, [about.class_id for about in asked])
    maps = []
    for place, about in enumerate(asked):  # a method of many passes makes batches of its own, of one image
        with ONE_AT_A_TIME, classifier.aimed_at([about]):
            maps.append(_maps(explain, images[place : place + 1], classifier.places([about])))
    return torch.cat(maps)


def _maps(explain: Method, images: Tensor, class_ids: Sequence[int]) -> Tensor:
    ids = torch.tensor(class_ids)[:, None]
    return explain.attribute(images, lambda _logits: ids).on(explain.grid).maps
