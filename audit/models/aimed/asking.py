"""Asking a network again about a target: a class of an image, or what it gave for an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from audit.models.aimed.kind import Aimed, Asked
from audit.models.classifier import Classifier


def answers(classifier: Classifier, run: Callable[[Tensor], Tensor], images: Tensor, asked: Sequence[Asked]) -> Tensor:
    """Probability [B] of each image's own target.

    Args:
        run: from images [B, 3, S, S] to the outputs of the classifier's module.
        asked: [B].

    Raises:
        ValueError: a network is asked about what it did not give.
    """
    places = classifier.places(asked) if isinstance(classifier, Aimed) else [about.class_id for about in asked]
    with classifier.aimed_at(asked) if isinstance(classifier, Aimed) else nullcontext():
        ids = torch.tensor(places, device=classifier.device)[:, None]
        return classifier.probabilities(run(images)).gather(1, ids)[:, 0]
