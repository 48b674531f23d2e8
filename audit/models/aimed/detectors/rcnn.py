"""Faster R-CNN (Ren et al., NIPS 2015) and Mask R-CNN (He et al., ICCV 2017) of torchvision: two stages.

A detection goes back to a proposal of the first stage. Asked again is what the second stage says of that proposal.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image

from audit.models.aimed.detectors.family import Answer, Candidates, Family, Suppression
from audit.models.aimed.detectors.transform import preprocessing_of
from audit.models.classifier import Preprocessing

_SMALLEST = 1e-2


class RCNN(Family):
    """Both: the masks of the latter follow from its boxes."""

    name = "Faster R-CNN, Mask R-CNN"
    background = 0
    activation = "softmax"

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        return isinstance(module, FasterRCNN)

    @property
    def preprocessing(self) -> Preprocessing:
        return preprocessing_of(self.network.transform)

    @property
    def suppression(self) -> Suppression:
        heads = self.network.roi_heads
        return Suppression(heads.score_thresh, heads.nms_thresh, heads.detections_per_img, smallest=_SMALLEST)

    def candidates(self, images: Tensor) -> Candidates:
        features, heads = self._features(images), self.network.roi_heads
        proposals, _ = self.network.rpn(ImageList(images, _sizes(images)), features)
        logits, shifts = self._second_stage(images, features, proposals)
        boxes = clip_boxes_to_image(heads.box_coder.decode(shifts, proposals), images.shape[-2:])
        scores = F.softmax(logits, dim=-1)
        scores = torch.cat([torch.zeros_like(scores[:, :1]), scores[:, 1:]], dim=1)
        counts = [len(own) for own in proposals]
        # Images have proposals of their own, and not as many: what is filled up has no score.
        return Candidates(
            _padded(logits, counts),
            _padded(scores, counts),
            _padded(boxes, counts),
            _padded(torch.cat(proposals), counts),
            torch.zeros(1, 1, dtype=torch.long, device=images.device),
        )

    def at(self, images: Tensor, keys: Tensor) -> Answer:
        logits, _ = self._second_stage(images, self._features(images), list(keys))
        logits = logits.view(*keys.shape[:2], -1)
        return Answer(logits, F.softmax(logits, dim=-1))

    def somewhere(self, images: Tensor) -> Tensor:
        side = float(images.shape[-1])
        return torch.tensor([0.0, 0.0, side, side], device=images.device).view(1, 1, 4).expand(len(images), -1, -1)

    def _features(self, images: Tensor) -> OrderedDict[str, Tensor]:
        features: Any = self.network.backbone(images)
        return OrderedDict([("0", features)]) if isinstance(features, Tensor) else features

    def _second_stage(
        self, images: Tensor, features: OrderedDict[str, Tensor], proposals: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Class logits and box shifts of all proposals, image after image."""
        heads = self.network.roi_heads
        logits, shifts = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, proposals, _sizes(images))))
        return logits, shifts


def _sizes(images: Tensor) -> list[tuple[int, int]]:
    return [(images.shape[-2], images.shape[-1])] * len(images)


def _padded(values: Tensor, counts: list[int]) -> Tensor:
    """Values [sum of counts, ...] of several images -> [B, most, ...], filled up with zeros."""
    parts: list[Tensor] = list(torch.split(values, counts))
    return nn.utils.rnn.pad_sequence(parts, batch_first=True)
