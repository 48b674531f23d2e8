"""Which classes of each image are explained: the labels, the predicted class, the runner-up, or any mix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

DETECTED, SEGMENTED = "detected", "segmented"
GIVEN = (DETECTED, SEGMENTED)
"""Roles of things that a network gave itself: a detector's boxes, regions."""
WORD = "word"
"""Role of a word or phrase of an image's text."""
ROLES = ("label", "predicted", "runner_up", *GIVEN, WORD)
"""A target is named by the first role that it has; those that a network gave itself have no other."""


def slot_count(roles: Sequence[str], most_labels: int) -> int:
    """Slots K that hold every sample's targets: the most labels of any sample, and one for each other role."""
    if WORD in roles:
        return max(most_labels, 1)
    return max((most_labels if "label" in roles else 0) + len(set(roles) - {"label"}), 1)


def choose_targets(roles: Sequence[str], labels: Sequence[Sequence[int]], logits: Tensor, slots: int) -> Tensor:
    """Class ids [B, slots] for a batch with class logits [B, C]; -1 in empty slots, no class twice in a row.

    >>> choose_targets(("label", "predicted"), [[0], [1]], torch.tensor([[0.0, 2.0], [0.0, 2.0]]), 2).tolist()
    [[0, 1], [1, -1]]
    """
    wanted = _named(roles, labels).to(logits.device, non_blocking=True)
    ranked = logits.topk(min(2, logits.shape[1]), dim=1).indices
    ranks = [place for place, role in enumerate(("predicted", "runner_up")) if role in roles]
    wanted = torch.cat([wanted, *(ranked[:, rank : rank + 1] for rank in ranks)], dim=1)
    again = (wanted[:, :, None] == wanted[:, None, :]).tril(-1).any(dim=2)
    kept = (wanted >= 0) & ~again
    # What is kept comes first, in its order; all without reading a number back from the logits' device.
    order = (~kept).int().argsort(dim=1, stable=True)
    ids = wanted.masked_fill(~kept, -1).gather(1, order)[:, :slots]
    return torch.nn.functional.pad(ids, (0, slots - ids.shape[1]), value=-1)


def _named(roles: Sequence[str], labels: Sequence[Sequence[int]]) -> Tensor:
    """Labels [B, most labels of any], filled up with -1; [B, 0] where labels are not explained."""
    rows = [list(own) if "label" in roles else [] for own in labels]
    longest = max(map(len, rows), default=0)
    return torch.tensor([row + [-1] * (longest - len(row)) for row in rows], dtype=torch.long).view(len(rows), longest)


def role_of(class_id: int, labels: Sequence[int], rank: int, roles: Sequence[str]) -> str:
    """The first role of a target whose class is `rank`-th among the logits (0 = predicted)."""
    if roles[0] in (*GIVEN, WORD):
        return roles[0]
    if "label" in roles and class_id in labels:
        return "label"
    return "predicted" if rank == 0 and "predicted" in roles else "runner_up"
