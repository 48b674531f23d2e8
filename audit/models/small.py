"""A small convolutional network, for the planted benchmark and for anything else that must train in a minute."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audit.images import Fit
from audit.models.classifier import Preprocessing

_CHANNELS = (16, 24, 48, 48, 64, 64, 96)
_STRIDES = (2, 1, 2, 1, 2, 1, 1)


class SmallNet(nn.Module):
    """Seven 3x3 convolutions with batch normalisation and ReLU, global average pooling and one linear layer.

    `features` ends at an eighth of the input (12x12 for 96 px) with non-negative activations, each seeing 59 px of the
    input. `classifier` is linear in their average, so `dy^c/dA` is constant: Grad-CAM has its closed form, which is CAM
    (Zhou et al., CVPR 2016, equation 2).

    Input: float [B, 3, H, W] as `preprocessing` makes it. Output: logits [B, class_count].
    """

    def __init__(self, class_count: int) -> None:
        super().__init__()
        inputs = (3, *_CHANNELS[:-1])
        self.features = nn.Sequential(*map(_block, inputs, _CHANNELS, _STRIDES))
        self.classifier = nn.Linear(_CHANNELS[-1], class_count)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


def build(class_count: int = 6, seed: int = 0) -> nn.Module:
    """An untrained `SmallNet`, its first weights drawn from the seed without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SmallNet(class_count)


def preprocessing(size: int = 96) -> Preprocessing:
    """Images squashed to `size`, values within -2 and 2: `(x / 255 - 0.5) / 0.25`."""
    return Preprocessing(Fit(size, "squash"), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
