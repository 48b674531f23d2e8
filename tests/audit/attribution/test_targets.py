"""Which classes of an image are explained, and what each target is called."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audit.attribution import choose_targets
from audit.attribution.targets import role_of, slot_count

LOGITS = torch.tensor([[0.1, 0.9, 0.5, -1.0], [2.0, 0.0, -1.0, 1.0]])


@pytest.mark.parametrize(
    ("roles", "labels", "slots", "expected"),
    [
        (("label", "predicted"), [[2], [0]], 2, [[2, 1], [0, -1]]),
        (("label",), [[3, 2], []], 2, [[3, 2], [-1, -1]]),
        (("predicted", "runner_up"), [[1], [1]], 2, [[1, 2], [0, 3]]),
        (("label", "predicted", "runner_up"), [[1], [2, 3]], 4, [[1, 2, -1, -1], [2, 3, 0, -1]]),
        (("runner_up",), [[0], [0]], 1, [[2], [3]]),
        (("label",), [[0, 1, 2], [3]], 2, [[0, 1], [3, -1]]),
    ],
)
def test_targets_are_labels_then_predicted_then_runner_up_none_twice(
    roles: tuple[str, ...], labels: list[list[int]], slots: int, expected: list[list[int]]
) -> None:
    assert choose_targets(roles, labels, LOGITS, slots).tolist() == expected


def test_slots_hold_all_targets_of_any_sample() -> None:
    assert slot_count(("label", "predicted"), 3) == 4
    assert slot_count(("predicted", "runner_up"), 3) == 2
    assert slot_count(("label",), 0) == 1


@pytest.mark.parametrize(
    ("class_id", "rank", "roles", "expected"),
    [
        (1, 0, ("label", "predicted"), "label"),
        (1, 0, ("predicted", "runner_up"), "predicted"),
        (0, 0, ("label", "predicted"), "predicted"),
        (0, 1, ("label", "runner_up"), "runner_up"),
    ],
)
def test_a_target_is_named_by_its_first_role(class_id: int, rank: int, roles: tuple[str, ...], expected: str) -> None:
    assert role_of(class_id, [1], rank, roles) == expected


def targets_by_loops(
    roles: tuple[str, ...], labels: list[list[int]], logits: torch.Tensor, slots: int
) -> list[list[int]]:
    rows = []
    for row, own in zip(logits.tolist(), labels, strict=True):
        ranked = sorted(range(len(row)), key=lambda class_id: -row[class_id])
        wanted = own if "label" in roles else []
        wanted = wanted + (ranked[:1] if "predicted" in roles else []) + (ranked[1:2] if "runner_up" in roles else [])
        distinct = list(dict.fromkeys(wanted))[:slots]
        rows.append(distinct + [-1] * (slots - len(distinct)))
    return rows


@pytest.mark.parametrize("seed", range(30))
def test_targets_of_a_batch_are_those_of_a_loop_over_its_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes, slots = int(rng.integers(1, 5)), int(rng.integers(1, 6))
    roles = tuple(rng.choice(["label", "predicted", "runner_up"], int(rng.integers(1, 4)), replace=False))
    labels = [rng.integers(0, classes, int(rng.integers(0, 4))).tolist() for _ in range(6)]
    logits = torch.from_numpy(rng.permutation(6 * classes).reshape(6, classes).astype(np.float32))
    found = choose_targets(roles, labels, logits, slots)
    assert found.tolist() == targets_by_loops(roles, labels, logits, slots)
