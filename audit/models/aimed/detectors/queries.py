"""DETR (Carion et al., ECCV 2020), YOLOS, RT-DETR (Zhao et al., CVPR 2024) and their like of transformers: queries.

Every query gives a box and a logit for each category; nothing suppresses one box by another.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert, box_iou

from audit.models.aimed.detectors.family import Answer, Candidates, Family, OneStage, Suppression, numbered
from audit.models.classifier import Preprocessing


class Queries(Family):
    """What both sorts have in common."""

    kinds: ClassVar[tuple[str, ...]]
    """Names of the classes of transformers."""

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        return type(module).__name__ in cls.kinds

    @property
    def preprocessing(self) -> Preprocessing | None:
        return None  # its image processor says, which does not come with the network

    @property
    def trunk(self) -> tuple[str, ...]:
        return ("model.backbone",) if hasattr(getattr(self.network, "model", None), "backbone") else ()

    def levels(self, images: Tensor) -> list[Tensor]:
        return [self.network(pixel_values=images).logits]

    def boxes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, Q, C] of the queries and their boxes [B, Q, 4] in pixels of the input."""
        found = self.network(pixel_values=images)
        height, width = images.shape[-2:]
        scale = torch.tensor([width, height, width, height], device=images.device)
        return found.logits, box_convert(found.pred_boxes, "cxcywh", "xyxy") * scale


class FixedQueries(Queries, OneStage):
    """DETR, Table Transformer and YOLOS: queries are weights, the same for all images; each is of one category."""

    name = "DETR, Table Transformer, YOLOS"
    kinds = ("DetrForObjectDetection", "TableTransformerForObjectDetection", "YolosForObjectDetection")
    background = -1
    activation = "softmax"

    @property
    def suppression(self) -> Suppression:
        return Suppression(0.0, None, int(self.network.config.num_queries if self._many else 100))

    @property
    def _many(self) -> bool:
        return hasattr(self.network.config, "num_queries")

    def answer(self, images: Tensor) -> Answer:
        logits, _ = self.boxes(images)
        return Answer(logits, logits.softmax(dim=-1))

    def candidates(self, images: Tensor) -> Candidates:
        logits, boxes = self.boxes(images)
        scores = logits.softmax(dim=-1)
        named = scores[:, :, :-1].amax(dim=2, keepdim=True)
        scores = torch.where(scores == named, scores, 0)
        scores = torch.cat([scores[:, :, :-1], torch.zeros_like(named)], dim=2)
        keys = numbered(len(logits), logits.shape[1], images.device)
        return Candidates(logits, scores, boxes[:, :, None], keys, _no_pools(logits))


class ChosenQueries(Queries):
    """RT-DETR, D-FINE and deformable DETR: queries are chosen from what each image shows, so a number names none.

    A detection is asked for again by its box: of a changed image that query answers whose box overlaps it most.
    """

    name = "RT-DETR, D-FINE, Deformable DETR, Conditional DETR"
    kinds = (
        "RTDetrForObjectDetection",
        "RTDetrV2ForObjectDetection",
        "DFineForObjectDetection",
        "DeformableDetrForObjectDetection",
        "ConditionalDetrForObjectDetection",
    )

    @property
    def suppression(self) -> Suppression:
        return Suppression(0.0, None, int(self.network.config.num_queries))

    def candidates(self, images: Tensor) -> Candidates:
        logits, boxes = self.boxes(images)
        return Candidates(logits, logits.sigmoid(), boxes[:, :, None], boxes, _no_pools(logits))

    def at(self, images: Tensor, keys: Tensor) -> Answer:
        logits, boxes = self.boxes(images)
        nearest = torch.stack([box_iou(own, all_of).argmax(dim=1) for own, all_of in zip(keys, boxes, strict=True)])
        chosen = logits.gather(1, nearest[:, :, None].expand(-1, -1, logits.shape[2]))
        return Answer(chosen, chosen.sigmoid())

    def somewhere(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        return torch.tensor([0.0, 0.0, width, height], device=images.device).view(1, 1, 4).expand(len(images), -1, -1)


def _no_pools(logits: Tensor) -> Tensor:
    return torch.zeros(1, 1, dtype=torch.long, device=logits.device)
