"""From candidates to detections: threshold, non-maximum suppression, the best of what is left."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from audit.models.aimed.detectors.family import Candidates, Suppression


@dataclass(frozen=True)
class Detections:
    """The boxes that a detector gives for a batch, by falling score; filled up where images have fewer.

    Attributes:
        categories: [B, M] column of the logits; -1 where there is none.
        scores: [B, M].
        boxes: [B, M, 4] x0, y0, x1, y1 in pixels of the input.
        keys: [B, M, k] of their candidates.
    """

    categories: Tensor
    scores: Tensor
    boxes: Tensor
    keys: Tensor

    @property
    def candidates(self) -> Tensor:
        """[B, M, 1 + k] what a run keeps to ask again: the category, then the key."""
        return torch.cat([self.categories[:, :, None].to(self.keys.dtype), self.keys], dim=2)

    def first(self, count: int) -> Detections:
        """The best so many of each image, filled up where there are fewer."""
        parts = (self.categories, self.scores, self.boxes, self.keys)
        return Detections(*(_filled(part, count, -1 if part is self.categories else 0) for part in parts))

    def of(self, image: int) -> Detections:
        """Those of one image, as a batch of it alone."""
        rows = slice(image, image + 1)
        return Detections(self.categories[rows], self.scores[rows], self.boxes[rows], self.keys[rows])


def detections_of(candidates: Candidates, rule: Suppression, allowed: Tensor) -> Detections:
    """What is left of a batch's candidates.

    Args:
        allowed: [C] bool, categories that count; the rule's number of detections is taken before the others go.
    """
    images = [_of_image(candidates, rule, image, allowed) for image in range(len(candidates.scores))]
    longest = max(len(image[0]) for image in images)
    parts = [
        torch.stack([_filled(part[None], longest, fill)[0] for part in own])
        for own, fill in zip(zip(*images, strict=True), (-1, 0, 0, 0), strict=True)
    ]
    return Detections(*parts)


def _of_image(
    candidates: Candidates, rule: Suppression, image: int, allowed: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Categories, scores, boxes and keys of an image's detections."""
    from torchvision.ops import batched_nms, remove_small_boxes  # not before there are detectors

    scores = candidates.scores[image]
    anchor, category = (scores > max(rule.above, 0)).nonzero(as_tuple=True)
    if rule.entering is not None:
        pool = candidates.pools.expand_as(scores)[anchor, category]
        entering = _best_of_each(scores[anchor, category], pool, rule.entering)
        anchor, category = anchor[entering], category[entering]
    boxes = candidates.boxes[image].expand(-1, scores.shape[1], -1)[anchor, category]
    large = remove_small_boxes(boxes, rule.smallest) if rule.smallest else torch.arange(len(boxes), device=boxes.device)
    anchor, category, boxes = anchor[large], category[large], boxes[large]
    score = scores[anchor, category]
    kept = score.argsort(descending=True) if rule.overlap is None else batched_nms(boxes, score, category, rule.overlap)
    kept = kept[: rule.most]
    kept = kept[allowed[category[kept]]]
    return category[kept], score[kept], boxes[kept], candidates.keys[image][anchor[kept]]


def _best_of_each(scores: Tensor, pool: Tensor, most: int) -> Tensor:
    """Places of the `most` highest scores [n] of each pool [n]."""
    places = [torch.zeros(0, dtype=torch.long, device=scores.device)]
    for number in torch.unique(pool):
        own = (pool == number).nonzero()[:, 0]
        places.append(own[scores[own].topk(min(most, len(own))).indices])
    return torch.cat(places)


def _filled(part: Tensor, count: int, fill: int) -> Tensor:
    """[B, M, ...] cut or filled up to [B, count, ...]."""
    missing = max(count - part.shape[1], 0)
    return torch.cat([part[:, :count], part.new_full((len(part), missing, *part.shape[2:]), fill)], dim=1)
