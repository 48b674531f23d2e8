"""Which classes of each image are explained: the labels, the predicted class, the runner-up, or any mix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROLES = ("label", "predicted", "runner_up")
"""A target is named by the first role that it has."""


def slot_count(roles: Sequence[str], most_labels: int) -> int:
    """Slots K that hold every sample's targets: the most labels of any sample, and one for each other role."""
    return max((most_labels if "label" in roles else 0) + len(set(roles) - {"label"}), 1)


def choose_targets(roles: Sequence[str], labels: Sequence[Sequence[int]], logits: Tensor, slots: int) -> Tensor:
    """Class ids [B, slots] for a batch with class logits [B, C]; -1 in empty slots, no class twice in a row.

    >>> choose_targets(("label", "predicted"), [[0], [1]], torch.tensor([[0.0, 2.0], [0.0, 2.0]]), 2).tolist()
    [[0, 1], [1, -1]]
    """
    ranked = logits.topk(min(2, logits.shape[1]), dim=1).indices.tolist()
    ids = torch.full((len(ranked), slots), -1)
    for row, (top, sample_labels) in enumerate(zip(ranked, labels, strict=True)):
        wanted = list(sample_labels) if "label" in roles else []
        wanted += top[:1] if "predicted" in roles else []
        wanted += top[1:2] if "runner_up" in roles else []
        distinct = list(dict.fromkeys(wanted))[:slots]
        ids[row, : len(distinct)] = torch.tensor(distinct, dtype=torch.long)
    return ids


def role_of(class_id: int, labels: Sequence[int], rank: int, roles: Sequence[str]) -> str:
    """The first role of a target whose class is `rank`-th among the logits (0 = predicted)."""
    if "label" in roles and class_id in labels:
        return "label"
    return "predicted" if rank == 0 and "predicted" in roles else "runner_up"
