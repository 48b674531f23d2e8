"""What a family of detectors must give: its candidates before suppression, and its answer about given ones again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from audit.models.classifier import Preprocessing


@dataclass(frozen=True)
class Candidates:
    """All boxes that a detector thinks of, for a batch, before it suppresses any.

    Attributes:
        logits: [B, A, C] of each category, before softmax or sigmoid.
        scores: [B, A, C] as the family forms them; those that are 0 are no candidates.
        boxes: [B, A, C, 4], or [B, A, 1, 4] where all categories share one: x0, y0, x1, y1 in pixels of the input.
        keys: [B, A, k] what a candidate is asked for again by: its number, or the corners of its proposal.
        pools: [A, C] or what broadcasts to it: of the candidates with one number, only the best enter the suppression.
    """

    logits: Tensor
    scores: Tensor
    boxes: Tensor
    keys: Tensor
    pools: Tensor


class Suppression(NamedTuple):
    """Which candidates become detections.

    Attributes:
        above: the score that they exceed.
        overlap: IoU beyond which the lower of two boxes of a category goes; None where none does.
        most: detections of an image.
        entering: of each pool; None for all.
        smallest: side of a box, pixels.
    """

    above: float
    overlap: float | None
    most: int
    entering: int | None = None
    smallest: float = 0.0


class Answer(NamedTuple):
    """Logits and scores [B, N, C] of given candidates, with their graph."""

    logits: Tensor
    scores: Tensor


class Family(ABC):
    """A family of detectors around one network of it; registered in `audit.models.aimed.detectors.registry`.

    A category is a column of the logits, and the number that the network's own output calls it by.

    Attributes:
        name: in words.
        background: the column of no category, as an index; None where there is none.
        activation: how logits become scores, as `audit.models.classifier.ACTIVATIONS` names it.
    """

    name: ClassVar[str]
    background: ClassVar[int | None] = None
    activation: ClassVar[str] = "sigmoid"

    def __init__(self, network: nn.Module) -> None:
        self.network: Any = network  # whose parts its own package names

    @classmethod
    @abstractmethod
    def takes(cls, module: nn.Module) -> bool:
        """Whether a module is of this family."""

    @property
    @abstractmethod
    def preprocessing(self) -> Preprocessing | None:
        """The one that the network's own comes nearest to, for square inputs; None where its origin says."""

    @property
    @abstractmethod
    def suppression(self) -> Suppression:
        """The network's own."""

    @abstractmethod
    def candidates(self, images: Tensor) -> Candidates:
        """Of normalised images [B, 3, S, S]."""

    @abstractmethod
    def at(self, images: Tensor, keys: Tensor) -> Answer:
        """The answer about candidates of these keys [B, N, k], whatever the images show there now."""

    @abstractmethod
    def somewhere(self, images: Tensor) -> Tensor:
        """Keys [B, 1, k] of a candidate that every image has."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """Of the categories, where the network has them in a place of its own."""
        return None

    @property
    def trunk(self) -> tuple[str, ...]:
        """Dotted names of the parts in which the target layer is looked for; empty for all."""
        return ("backbone.body" if isinstance(getattr(self.network.backbone, "body", None), nn.Module) else "backbone",)

    def levels(self, images: Tensor) -> list[Tensor]:
        """What the detector's head is given, all of which is to rest on the target layer."""
        features: Any = self.network.backbone(images)
        return [features] if isinstance(features, Tensor) else list(features.values())


class OneStage(Family):
    """A family whose candidates are the same for all images of a size: anchors, places or queries, by number."""

    @abstractmethod
    def answer(self, images: Tensor) -> Answer:
        """About all candidates [B, A, C]."""

    def at(self, images: Tensor, keys: Tensor) -> Answer:
        everything, place = self.answer(images), keys[:, :, :1].long()
        logits, scores = (part.gather(1, place.expand(-1, -1, part.shape[2])) for part in everything)
        return Answer(logits, scores)

    def somewhere(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), 1, 1, device=images.device)


def numbered(batch: int, count: int, device: torch.device) -> Tensor:
    """Keys [B, A, 1] of candidates that go by their number."""
    return torch.arange(count, device=device, dtype=torch.float32).view(1, -1, 1).expand(batch, -1, -1)
