"""A small detector for the planted scenes: FCOS on one level of 12 x 12 cells, trained in minutes on one thread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead

from audit.datasets import Sample, Unreadable, decode_sample, read_voc
from audit.datasets.planted import CLASSES
from audit.images import Fit
from audit.models.small import SmallNet
from audit.progress import Progress, silent, tracked

SIZE = 96
classes = CLASSES
_CHANNELS = 64


class Trunk(nn.Module):
    """The small classifier's convolutions, each cell of which sees 59 px; a 1 x 1 convolution behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = SmallNet(1).features
        self.narrow = nn.Sequential(nn.Conv2d(96, _CHANNELS, 1), nn.ReLU())
        self.out_channels = _CHANNELS

    def forward(self, images: Tensor) -> Tensor:
        level: Tensor = self.narrow(self.body(images))
        return level


def build() -> nn.Module:
    """Untrained; its heads have two convolutions, through which a cell sees all of a scene."""
    return FCOS(
        Trunk(),
        len(CLASSES),
        anchor_generator=AnchorGenerator(((8,),), ((1.0,),)),
        head=FCOSHead(_CHANNELS, 1, len(CLASSES), num_convs=2),
        min_size=SIZE,
        max_size=SIZE,
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
        score_thresh=0.1,
        detections_per_img=20,
    )


def train_detector(
    scenes: Path, seed: int, epochs: int = 10, batch_size: int = 32, progress: Progress = silent
) -> Path:
    """Train on the biased scenes of a drawn benchmark; returns the weights, in the same folder."""
    samples = list(read_voc(scenes, split="train"))
    pixels = np.stack([fitted(sample) for sample in samples])
    torch.manual_seed(seed)
    network, rng = build().train(), np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
    steps = epochs * (len(samples) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps)
    order = np.concatenate([rng.permutation(len(samples))[: steps // epochs * batch_size] for _ in range(epochs)])
    for rows in tracked(progress, "training", order.reshape(-1, batch_size)):
        images = torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2) / 255
        losses = network(list(images), [_target(samples[row]) for row in rows])
        optimiser.zero_grad()
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    path = scenes / "detector.pt"
    torch.save(network.eval().state_dict(), path)
    return path


def fitted(sample: Sample) -> NDArray[np.uint8]:
    """Pixels [S, S, 3] of a scene."""
    decoded = decode_sample(0, sample, Fit(SIZE, "squash"))
    assert not isinstance(decoded, Unreadable)
    return decoded.pixels


def _target(sample: Sample) -> dict[str, Tensor]:
    boxes = torch.tensor([(box.x0, box.y0, box.x1, box.y1) for box in sample.boxes], dtype=torch.float32)
    return {"boxes": boxes, "labels": torch.tensor([box.class_id for box in sample.boxes])}
