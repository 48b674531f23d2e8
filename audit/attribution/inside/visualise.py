"""What a network would see most of: images of a class made from nothing, single channels at the pixels, activations.

- Class visualisation (Simonyan et al., ICLR workshop 2014, section 2): the image that maximises y^c less a penalty on
  its size, climbed by gradients from noise.
- Its regularisers (Yosinski et al., ICML deep learning workshop 2015): the image decays a little at each step and is
  blurred from time to time. It is also moved by a few pixels before each step (jitter), so that no pattern of single
  pixels gets ahead.
- Deconvnet of a channel (Zeiler and Fergus, ECCV 2014): what is positive, passed back from where it is strongest.

These are pictures to learn from. They show what would drive the network, not what drove it in an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from audit.attribution.methods.backprop import InputGradient
from audit.attribution.taps import probing, tapped
from audit.errors import ModelError
from audit.models.classifier import Classifier
from audit.models.layers import Layout, find_grids, find_stage_layers


@dataclass(frozen=True)
class Climb:
    """How an image of a class is made.

    Raises:
        ValueError: a value that cannot be.

    Attributes:
        steps: gradient steps, at least 1.
        rate: length of the first step as a share of the image's own; it falls to a tenth of that at the last one.
        jitter: pixels by which the image is moved at most before a step, as a share of its side.
        decay: share of the image that is lost at each step.
        blur: standard deviation of the blur as a share of the side; 0 for none.
        every: steps from one blur to the next.
    """

    steps: int = 200
    rate: float = 0.1
    jitter: float = 0.06
    decay: float = 0.005
    blur: float = 0.004
    every: int = 4

    def __post_init__(self) -> None:
        if min(self.steps, self.every) < 1:
            raise ValueError(f"Expected `steps` and `every` of at least 1, got {self.steps} and {self.every}")
        if not (0 <= self.decay < 1 and 0 <= self.jitter < 1 and self.blur >= 0 and self.rate > 0):
            raise ValueError(
                f"Expected `rate` above 0, shares of `decay` and `jitter` in 0..1, a `blur` of 0 or above; got {self}"
            )


STANDARD = Climb()


def class_image(classifier: Classifier, class_id: int, climb: Climb = STANDARD, seed: int = 0) -> tuple[Tensor, float]:
    """An image [3, S, S] in 0..1 that the network gives a class a high logit for, and that logit.

    Raises:
        ModelError: the network lets no gradient through to its input.
    """
    generator = torch.Generator().manual_seed(seed)
    image = 0.1 * torch.randn(classifier.example().shape, generator=generator).to(classifier.device)
    side = image.shape[-1]
    most = round(climb.jitter * side)
    with probing(classifier.module):
        for step in range(climb.steps):
            by = torch.randint(-most, most + 1, (2,), generator=generator).tolist() if most else [0, 0]
            moved = image.roll(by, (2, 3))
            slope = _slope(classifier, moved, class_id).roll([-shift for shift in by], (2, 3))
            image = _stepped(classifier, image, slope, climb, step)
        logit = _logit(classifier, image, class_id)
    return _pixels(classifier, image)[0], logit


def _slope(classifier: Classifier, image: Tensor, class_id: int) -> Tensor:
    with torch.enable_grad():
        leaf = image.detach().requires_grad_()
        logit = classifier.class_logits(classifier.module(leaf.clone()))[0, class_id]
        if not logit.requires_grad:
            raise ModelError("Expected a network that lets gradients through to its input; this one cuts them off")
        return torch.autograd.grad(logit, leaf)[0]


def _stepped(classifier: Classifier, image: Tensor, slope: Tensor, climb: Climb, step: int) -> Tensor:
    """The image after a step, decayed, blurred, and kept among images."""
    rate = climb.rate * (1 - 0.9 * step / max(climb.steps - 1, 1))
    length = slope.norm().clamp(min=1e-12)
    image = (1 - climb.decay) * image + rate * image.numel() ** 0.5 * slope / length
    if climb.blur and step % climb.every == climb.every - 1:
        deviation = max(climb.blur * image.shape[-1], 0.3)
        image = gaussian_blur(image, [2 * round(2 * deviation) + 1] * 2, [deviation] * 2)
    low, high = (_normalised(classifier, value, image) for value in (0.0, 1.0))
    return image.clamp(low, high)


def _normalised(classifier: Classifier, value: float, image: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).to(image).view(1, 3, 1, 1) for v in _moments(classifier))
    return (value - mean) / std


def _moments(classifier: Classifier) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    return classifier.preprocessing.mean, classifier.preprocessing.std


def _pixels(classifier: Classifier, image: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).to(image).view(1, 3, 1, 1) for v in _moments(classifier))
    return (image * std + mean).clamp(0, 1).detach().cpu()


def _logit(classifier: Classifier, image: Tensor, class_id: int) -> float:
    with torch.inference_mode():
        return float(classifier.class_logits(classifier.module(image))[0, class_id])


def channel_gradients(method: InputGradient, image: Tensor, channels: Sequence[int]) -> Tensor:
    """The gradient [n, 3, H, W] of channels where each is strongest, at the input [1, 3, H, W], by a method's rule."""
    classifier, kept = method.classifier, list[Tensor]()
    with probing(classifier.module), torch.enable_grad(), tapped(classifier.target_layer, partial(_keep, kept)):
        leaf = image.detach().clone().requires_grad_()
        with method.rule():
            classifier.module(leaf.clone())
        layout = Layout.of(kept[-1].shape)
        if layout is None:
            raise ModelError(f"Expected the layer {classifier.layer!r} to have a grid, got {list(kept[-1].shape)}")
        cells = layout.to_grid(kept[-1])[0].flatten(1)
        rows = [torch.autograd.grad(cells[channel].max(), leaf, retain_graph=True)[0][0] for channel in channels]
    return torch.stack(rows)


def stage_activations(classifier: Classifier, image: Tensor, most: int = 16) -> dict[str, Tensor]:
    """The strongest channels [most, h, w] of the last layer of each grid size, by the layer's name, fine to coarse."""
    with probing(classifier.module), torch.inference_mode():
        grids = find_grids(classifier.module, classifier.example())
        names = find_stage_layers(grids, classifier.layer, count=5)
        stages: dict[str, Tensor] = {}
        for name in names:
            kept: list[Tensor] = []
            with tapped(classifier.module.get_submodule(name), partial(_keep, kept)):
                classifier.module(image)
            held = grids[name].layout.to_grid(kept[-1])[0].float().cpu()
            strongest = held.flatten(1).amax(dim=1).topk(min(most, len(held))).indices
            stages[name] = held[strongest]
    return stages


def _keep(kept: list[Tensor], output: Tensor) -> None:
    kept.append(output.clone())  # the next module may work in place
