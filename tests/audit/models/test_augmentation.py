"""What chance changes in an image and its mask: both by the same map, and nothing invented."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from audit.models.training.augmentation import augment_pair

LEVELS = np.array([20, 120, 220], np.uint8)


def scene(height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image whose level says its class: large blocks of 0, 1 and 2."""
    rng = np.random.default_rng(0)
    mask = np.kron(rng.integers(0, 3, (4, 4)), np.ones((height // 4, width // 4), int)).astype(np.uint8)
    return np.repeat(LEVELS[mask][..., None], 3, axis=2), mask


@pytest.mark.parametrize("shape", [(32, 32), (64, 32), (16, 64), (4, 400)])
def test_without_augmentation_a_pair_is_scaled_to_the_size_and_padded(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    image, mask = augment_pair(*scene(*shape), 32, "none")
    assert image.shape == (3, 32, 32)
    assert mask.shape == (32, 32)
    scale = 32 / max(shape)
    assert int((mask != 255).sum()) == max(round(shape[0] * scale), 1) * round(shape[1] * scale)
    assert (image[:, mask == 255] == 124).all()


def test_a_mask_moves_with_its_image() -> None:
    torch.manual_seed(1)
    pairs = [augment_pair(*scene(32, 32), 32, "mirror") for _ in range(20)]
    for image, mask in pairs:
        np.testing.assert_array_equal(image[0].numpy(), LEVELS[mask.numpy()])
    assert len({mask.numpy().tobytes() for _, mask in pairs}) == 2


def test_full_augmentation_keeps_most_pixels_true_to_their_mask() -> None:
    """But for the rims of blocks, which are interpolated, levels keep the order of their classes."""
    torch.manual_seed(2)
    shares = []
    for _ in range(20):
        image, mask = augment_pair(*scene(64, 48), 32, "full")
        levels = [image[0][mask == c].float().median() for c in range(3) if (mask == c).any()]
        assert levels == sorted(levels)
        shares.append(float((mask == 255).float().mean()))
    assert min(shares) < 0.1 < max(shares)


def test_a_mask_is_never_interpolated() -> None:
    torch.manual_seed(3)
    for _ in range(10):
        _, mask = augment_pair(*scene(64, 48), 32, "full")
        assert set(mask.unique().tolist()) <= {0, 1, 2, 255}
