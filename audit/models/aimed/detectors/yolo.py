"""YOLO as the package ultralytics builds it (v8, 11): places of three levels, one category each.

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
    """Networks with a head of the package's; those that suppress nothing (v10, 26) have two, and are not known here."""

    name = "YOLO of ultralytics"

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        detects = any(kind.__name__ == "DetectionModel" for kind in type(module).__mro__)
        return detects and not hasattr(module.model[-1], "one2one_cv2")  # type: ignore[index]

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(Fit(640, "letterbox"), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    @property
    def names(self) -> tuple[str, ...]:
        named: dict[int, str] = self.network.names
        return tuple(str(named[place]) for place in sorted(named))

    @property
    def suppression(self) -> Suppression:
        """That of its predictor: 0.25 and 0.7."""
        return Suppression(0.25, 0.7, 300)

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
        named = scores == scores.amax(dim=2, keepdim=True)
        best, corners = torch.where(named, scores, 0), box_convert(boxes, "cxcywh", "xyxy")
        pools = torch.zeros(1, 1, dtype=torch.long, device=images.device)
        keys = numbered(len(logits), logits.shape[1], images.device)
        return Candidates(logits, best, corners[:, :, None], keys, pools)

    @property
    def _head(self) -> Any:
        return self.network.model[-1]

    def _found(self, images: Tensor) -> dict[str, Any]:
        """`scores` [B, C, A] before the sigmoid, `boxes` and `feats`, the levels."""
        self._head.shape = None  # places are made anew: those kept from a pass without a graph cannot be in one
        found: dict[str, Any] = self.network(images)[1]
        return found
