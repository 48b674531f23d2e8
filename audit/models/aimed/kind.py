"""Networks that are asked about what they gave for an image themselves: boxes, regions, words of a text.

They answer for a data set's classes as a classifier does. But a target is a thing that the network gave, and whoever
changes the image asks about the same thing again: the network is aimed at it meanwhile.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.errors import ModelError
from audit.models.classifier import Classifier

Given = Sequence[float] | NDArray[np.integer] | str
"""What a network is asked again by: category and key of a detector's candidate, class ids [h, w] of regions, a text."""


class Asked(NamedTuple):
    """A target.

    Attributes:
        class_id: its class.
        given: of what the network gave itself, what it is asked again by.
    """

    class_id: int
    given: Given | None = None


def refuse_aimed(classifier: Classifier) -> None:
    """Refuse a network that has no logits of classes for an image as a whole.

    Raises:
        ModelError: so it is.
    """
    if isinstance(classifier, Aimed):
        raise ModelError(f"Expected a classifier, whose images have classes as a whole, got {classifier.kind}")


class Aimed(Classifier, ABC):
    """A classifier whose targets are things that its network gave.

    Attributes:
        role: of its targets, the word for `--targets`.
        kind: in words.
        method: the one that explains it, if no other is asked for.
    """

    role: ClassVar[str]
    kind: ClassVar[str]
    method: ClassVar[str] = "hirescam"
    """Grad-CAM's weights are means over positions, so that heat lies wherever a channel is active, whichever box was
    asked. With gradients element by element, as ODAM (Zhao and Chan, ICLR 2023) has them for boxes, it lies where the
    evidence for this one is."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Logits of the module as it is aimed: what methods count as class ids, each by itself."""

    @property
    def known(self) -> Tensor:
        return torch.ones(self.outputs, dtype=torch.bool, device=self.device)

    @property
    def members(self) -> Tensor:
        return torch.arange(self.outputs, device=self.device)[:, None]

    @property
    def membership(self) -> Tensor:
        return torch.zeros(self.outputs, 1, device=self.device)

    @abstractmethod
    def aimed_at(self, asked: Sequence[Asked]) -> AbstractContextManager[None]:
        """Be asked about one target of each image, meanwhile.

        Raises:
            ValueError: one of them does not say what was given.
        """

    @abstractmethod
    def surest(
        self, images: Tensor, class_id: int | None = None, texts: Sequence[str] | None = None
    ) -> list[Asked | None]:
        """Of each image [B, 3, S, S] the surest thing that the network gives, perhaps of a class; None for none.

        Args:
            texts: [B], where the network reads one beside each image.
        """

    @abstractmethod
    def places(self, asked: Sequence[Asked]) -> list[int]:
        """Which of the outputs each of them is then, as methods count class ids."""
