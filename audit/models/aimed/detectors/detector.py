"""A detector as the audit asks it: about boxes that it gave, each by its candidate, on this image or a changed one.

It is a classifier whose outputs are the detections at which it is aimed. So every method explains a detection's class
logit as it explains that of a class, and whoever takes something away from the image asks about the same box again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from audit.models.aimed.detectors.family import Family
from audit.models.aimed.detectors.suppression import Detections, detections_of
from audit.models.aimed.kind import Aimed, Asked


class AimedNetwork(nn.Module):
    """A detector that gives the logits and scores of the candidates at which it is aimed.

    Until it is aimed, one candidate that every image has is its aim.
    """

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.network = family.network
        self.family = family
        self._aim: Detections | None = None

    @property
    def slots(self) -> int:
        """Candidates at which it is aimed, of an image."""
        return 1 if self._aim is None else self._aim.categories.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """Images [R, 3, S, S] -> [R, 2 N]: logits of the N candidates, then their scores.

        A network aimed at one image's candidates takes any number of images: copies of it, changed.
        """
        keys, categories = self._aimed_at(images)
        answer = self.family.at(images, keys)
        logits, scores = (part.gather(2, categories[:, :, None])[:, :, 0] for part in answer)
        return torch.cat([logits, scores], dim=1)

    @contextmanager
    def aimed(self, aim: Detections) -> Iterator[None]:
        """Be aimed at the candidates of detections, meanwhile."""
        before, self._aim = self._aim, aim
        try:
            yield
        finally:
            self._aim = before

    def _aimed_at(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Keys [R, N, k] and categories [R, N]."""
        if self._aim is None:
            first = 1 if self.family.background == 0 else 0
            keys = self.family.somewhere(images)
            return keys, torch.full(keys.shape[:2], first, dtype=torch.long, device=images.device)
        keys, categories = (part.to(images.device) for part in (self._aim.keys, self._aim.categories.clamp(min=0)))
        rows = len(images)
        return keys.expand(rows, -1, -1), categories.expand(rows, -1)


@dataclass(frozen=True)
class Detector(Aimed):
    """A detector with all that is needed to ask it about a data set's classes.

    `mapping` says which categories are a class's. For methods the class ids are places among the detections at which
    the network is aimed, see `aimed`; the activation says how the network's own logits become scores.
    """

    role = "detected"
    kind = "a detector"

    @property
    def outputs(self) -> int:
        return self.network.slots

    @property
    def network(self) -> AimedNetwork:
        """The module."""
        assert isinstance(self.module, AimedNetwork)
        return self.module

    @cached_property
    def class_of(self) -> tuple[int, ...]:
        """Class id of each category; -1 where the data set has none."""
        owners = {column: class_id for class_id, columns in enumerate(self.mapping.outputs) for column in columns}
        return tuple(owners.get(column, -1) for column in range(max(owners, default=0) + 1))

    def classes_of(self, categories: Tensor) -> Tensor:
        """Class ids of categories; -1 of -1."""
        return torch.tensor([*self.class_of, -1], device=categories.device)[categories]

    def detect(self, images: Tensor) -> Detections:
        """All detections of the data set's classes in inputs [B, 3, S, S], by falling score."""
        family = self.network.family
        with torch.inference_mode():
            candidates = family.candidates(images)
            allowed = torch.zeros(candidates.logits.shape[2], dtype=torch.bool, device=images.device)
            allowed[[column for column, class_id in enumerate(self.class_of) if class_id >= 0]] = True
            return detections_of(candidates, family.suppression, allowed)

    def aimed_at(self, asked: Sequence[Asked]) -> AbstractContextManager[None]:
        candidates = [list(about.given) for about in asked if about.given is not None]
        if len(candidates) < len(asked):
            raise ValueError("Expected the candidate of each box that a detector is asked about, got none")
        return self.network.aimed(self.aim_at(candidates))

    def surest(
        self, images: Tensor, class_id: int | None = None, texts: Sequence[str] | None = None
    ) -> list[Asked | None]:
        boxes = self.detect(images)
        found: list[Asked | None] = []
        for classes, candidates in zip(self.classes_of(boxes.categories), boxes.candidates, strict=True):
            of_class = (classes >= 0) if class_id is None else (classes == class_id)
            place = int(of_class.int().argmax()) if of_class.any() else None
            found.append(None if place is None else Asked(int(classes[place]), candidates[place].tolist()))
        return found

    def places(self, asked: Sequence[Asked]) -> list[int]:
        return [0] * len(asked)

    def aim_at(self, candidates: Sequence[Sequence[float]]) -> Detections:
        """One candidate of each image, as a run keeps it: its category, then its key; the rest is left open."""
        rows = torch.tensor([list(candidate) for candidate in candidates], dtype=torch.float32, device=self.device)
        nothing = torch.zeros(len(rows), 1, device=self.device)
        return Detections(rows[:, :1].long(), nothing, nothing[:, :, None].expand(-1, -1, 4), rows[:, None, 1:])

    def class_logits(self, outputs: Tensor) -> Tensor:
        """Outputs [B, 2 N] -> logits [B, N] of the detections at which the network is aimed."""
        return outputs[:, : outputs.shape[1] // 2]

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Outputs [B, 2 N] -> scores [B, N] of the detections at which the network is aimed."""
        return outputs[:, outputs.shape[1] // 2 :]
