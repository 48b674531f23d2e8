"""RetinaNet (Lin et al., ICCV 2017), FCOS (Tian et al., ICCV 2019) and SSD (Liu et al., ECCV 2016) of torchvision.

One stage: every anchor, or place, of every level of a pyramid has a logit for each category.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import clip_boxes_to_image

from audit.models.aimed.detectors.family import Answer, Candidates, OneStage, Suppression, numbered
from audit.models.aimed.detectors.transform import preprocessing_of
from audit.models.classifier import Preprocessing


class Dense(OneStage):
    """What the three have in common."""

    @property
    def preprocessing(self) -> Preprocessing:
        return preprocessing_of(self.network.transform)

    @property
    def suppression(self) -> Suppression:
        network = self.network
        return Suppression(
            network.score_thresh, network.nms_thresh, network.detections_per_img, network.topk_candidates
        )

    def answer(self, images: Tensor) -> Answer:
        return self._answer(self.network.head(self.levels(images)))

    def candidates(self, images: Tensor) -> Candidates:
        levels = self.levels(images)
        found, sizes = self.network.head(levels), [(images.shape[-2], images.shape[-1])] * len(images)
        # The anchors of an image: on the same size they are those of every other.
        anchors = self.network.anchor_generator(ImageList(images, sizes), levels)[0]
        logits, scores = self._answer(found)
        boxes = torch.stack([self._decode(shifts, anchors) for shifts in found["bbox_regression"]])
        boxes = clip_boxes_to_image(boxes, sizes[0])[:, :, None]
        keys = numbered(len(images), len(anchors), images.device)
        return Candidates(logits, scores, boxes, keys, self._pools(logits, levels))

    def _answer(self, found: dict[str, Tensor]) -> Answer:
        logits = found["cls_logits"]
        return Answer(logits, self._scores(found))

    @abstractmethod
    def _scores(self, found: dict[str, Tensor]) -> Tensor:
        """[B, A, C] from what the head gives."""

    @abstractmethod
    def _decode(self, shifts: Tensor, anchors: Tensor) -> Tensor:
        """Boxes [A, 4] from what the head gives for an image, and its anchors."""

    def _pools(self, logits: Tensor, levels: list[Tensor]) -> Tensor:
        """The level of each anchor: every cell of a level has as many."""
        cells = torch.tensor([level.shape[-2] * level.shape[-1] for level in levels], device=logits.device)
        each = logits.shape[1] // int(cells.sum())
        return torch.arange(len(levels), device=logits.device).repeat_interleave(cells * each)[:, None]


class RetinaNets(Dense):
    """RetinaNet."""

    name = "RetinaNet"

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        return isinstance(module, RetinaNet)

    def _scores(self, found: dict[str, Tensor]) -> Tensor:
        return found["cls_logits"].sigmoid()

    def _decode(self, shifts: Tensor, anchors: Tensor) -> Tensor:
        boxes: Tensor = self.network.box_coder.decode_single(shifts, anchors)
        return boxes


class FCOSs(Dense):
    """FCOS. Its score is the root of class times centre-ness; what is explained is the class's logit."""

    name = "FCOS"

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        return isinstance(module, FCOS)

    def _scores(self, found: dict[str, Tensor]) -> Tensor:
        return (found["cls_logits"].sigmoid() * found["bbox_ctrness"].sigmoid()).sqrt()

    def _decode(self, shifts: Tensor, anchors: Tensor) -> Tensor:
        boxes: Tensor = self.network.box_coder.decode(shifts, anchors)
        return boxes


class SSDs(Dense):
    """SSD and SSDlite. The best anchors of each category enter the suppression, not those of each level."""

    name = "SSD, SSDlite"
    background = 0
    activation = "softmax"

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        return isinstance(module, SSD)

    def _scores(self, found: dict[str, Tensor]) -> Tensor:
        scores = F.softmax(found["cls_logits"], dim=-1)
        return torch.cat([torch.zeros_like(scores[:, :, :1]), scores[:, :, 1:]], dim=2)

    def _decode(self, shifts: Tensor, anchors: Tensor) -> Tensor:
        boxes: Tensor = self.network.box_coder.decode_single(shifts, anchors)
        return boxes

    def _pools(self, logits: Tensor, levels: list[Tensor]) -> Tensor:
        return torch.arange(logits.shape[2], device=logits.device)[None]
