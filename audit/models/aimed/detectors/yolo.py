"""YOLO as the package ultralytics builds it (v8, 11; v10, 26): places of three levels, one category each.

v10 and 26 have a second head, which gives an object one place, so that nothing is suppressed. There a place may be of
several categories. Which of the heads answers is the package's own switch: `model.end2end = True` before the network is
returned.

`FILE.py:function` returns the network: `YOLO("yolo11n.pt").model`. A checkpoint of that package is a pickle, which runs
code when it is read, so that its path alone is not taken.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from audit.images import Fit
from audit.models.aimed.detectors.family import Answer, Candidates, OneStage, Suppression, numbered
from audit.models.classifier import Preprocessing


class YOLO(OneStage):
    """Networks with a head of the package's, or with two."""

    name = "YOLO of ultralytics"

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        return any(kind.__name__ == "DetectionModel" for kind in type(module).__mro__)

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(Fit(640, "letterbox"), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    @property
    def names(self) -> tuple[str, ...]:
        named: dict[int, str] = self.network.names
        return tuple(str(named[place]) for place in sorted(named))

    @property
    def suppression(self) -> Suppression:
        """That of its predictor: 0.25 and 0.7; of the head that needs none, 0.25 alone."""
        return Suppression(0.25, None if self._alone else 0.7, 300)

    @property
    def trunk(self) -> tuple[str, ...]:
        return tuple(f"model.{place}" for place in range(len(self.network.yaml["backbone"])))

    def levels(self, images: Tensor) -> list[Tensor]:
        features: list[Tensor] = self._found(images)["feats"]
        return features

    def answer(self, images: Tensor) -> Answer:
        logits = self._found(images)["scores"].mT
        return Answer(logits, logits.sigmoid())

    def candidates(self, images: Tensor) -> Candidates:
        found = self._found(images)
        logits, boxes = found["scores"].mT, self._head._get_decode_boxes(found).mT
        scores = logits.sigmoid()
        if not self._alone:
            scores = torch.where(scores == scores.amax(dim=2, keepdim=True), scores, 0)
            boxes = box_convert(boxes, "cxcywh", "xyxy")
        pools = torch.zeros(1, 1, dtype=torch.long, device=images.device)
        keys = numbered(len(logits), logits.shape[1], images.device)
        return Candidates(logits, scores, boxes[:, :, None], keys, pools)

    @property
    def _head(self) -> Any:
        return self.network.model[-1]

    @property
    def _alone(self) -> bool:
        """Whether the head answers that gives an object one place."""
        return bool(getattr(self._head, "end2end", False))

    def _found(self, images: Tensor) -> dict[str, Any]:
        """`scores` [B, C, A] before the sigmoid, `boxes` and `feats`, the levels."""
        self._head.shape = None  # places are made anew: those kept from a pass without a graph cannot be in one
        found: dict[str, Any] = self.network(images)[1]
        both: dict[str, Any] = {"one2one": found, "one2many": found} | found
        answers: dict[str, Any] = both["one2one" if self._alone else "one2many"]
        return answers
