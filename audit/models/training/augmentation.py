"""What chance changes in training images: torchvision.transforms.v2, on the CPU, drawing from torch's generator."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from audit.images.masks import VOID_INDEX
from audit.images.views import PADDING

AUGMENTATIONS = ("none", "mirror", "full")
"""`none`; `mirror`: left to right, each image with probability 1/2; `full`: scaled and cropped, light, contrast and
saturation changed, and mirrored."""

_JITTER = 0.3
_LEAST_AREA = 0.35
_SCALES = (0.5, 2.0)


def check_augmentation(name: str) -> None:
    """Refuse an unknown one with a ValueError."""
    if name not in AUGMENTATIONS:
        raise ValueError(f"Expected the augmentation to be one of {', '.join(AUGMENTATIONS)}, got {name!r}")


def augment_images(pixels: NDArray[np.uint8], name: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Images of a classifier, uint8 [B, S, S, 3], each changed by itself; of the same size.

    `full` takes a box of 35 to 100 % of the area (Szegedy et al., CVPR 2015, section 6, from 8 %), so that an object
    is seldom lost.
    """
    if name == "mirror":
        chosen = rng.random(len(pixels)) < 0.5
        return np.where(chosen[:, None, None, None], pixels[:, :, ::-1], pixels)
    if name == "full":
        change = _for_classifier(pixels.shape[1])
        images = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)
        return torch.stack([change(image) for image in images]).permute(0, 2, 3, 1).numpy()
    return pixels


def augment_pair(image: NDArray[np.uint8], mask: NDArray[np.uint8], size: int, name: str) -> tuple[Tensor, Tensor]:
    """An image uint8 [H, W, 3] and its index mask uint8 [H, W], changed together: uint8 [3, S, S] and [S, S].

    The image is scaled so that its longer side is `size`, with `full` times 0.5 to 2, then cut at a random place.
    What is missing to the square is grey, and 255 in the mask.
    """
    height, width = mask.shape
    scale = size / max(height, width) * (float(torch.empty(1).uniform_(*_SCALES)) if name == "full" else 1.0)
    to = [max(round(height * scale), 1), max(round(width * scale), 1)]
    # Copies, since torch wants memory it may write to.
    pair = (
        tv_tensors.Image(torch.from_numpy(np.array(image)).permute(2, 0, 1)),
        tv_tensors.Mask(torch.from_numpy(np.array(mask))),
    )
    changed: Any = _for_pairs(size, name)(*(v2.functional.resize(part, to, antialias=True) for part in pair))
    return changed[0].as_subclass(Tensor), changed[1].as_subclass(Tensor)


def _for_classifier(size: int) -> Any:
    crop = v2.RandomResizedCrop(size, scale=(_LEAST_AREA, 1.0), antialias=True)
    return v2.Compose([crop, _jitter(), v2.RandomHorizontalFlip()])


def _for_pairs(size: int, name: str) -> Any:
    fill = {tv_tensors.Image: PADDING, tv_tensors.Mask: VOID_INDEX}
    steps: list[Any] = [v2.RandomCrop(size, pad_if_needed=True, fill=fill)]
    if name == "full":
        steps.append(_jitter())
    if name != "none":
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose(steps)


def _jitter() -> Any:
    return v2.ColorJitter(brightness=_JITTER, contrast=_JITTER, saturation=_JITTER)
