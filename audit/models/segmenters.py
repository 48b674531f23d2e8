"""Segmentation networks: where they come from, how they are asked, and their checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from audit.errors import ModelError
from audit.images import Fit
from audit.images.masks import VOID_INDEX
from audit.images.views import interpolation_matrix
from audit.models.classifier import Preprocessing
from audit.models.pyramid import FeaturePyramid
from audit.models.sources import build_architecture, build_with
from audit.models.training.optimisation import device_of
from audit.models.unet import UNet, resized
from audit.models.weights import CHECKPOINT_FORMAT, first_line, load_state
from audit.trusted import is_code

SEGMENTER_FORMAT = "camaudit-segmenter-1"
_PYRAMID = "fpn:"
_LEAST_SIDE = 32
_STRIP = 2**22
"""Values that are interpolated at once, where a mask is made."""


@dataclass(frozen=True)
class Segmenter:
    """A segmentation network in eval mode with all that is needed to ask it.

    Attributes:
        module: maps input [B, 3, h, w] to logits [B, len(classes) + 1, ...], see `segment`.
        classes: output 0 is the background, i + 1 class i.
        preprocessing: its fit's size is the longer side of the input, the image's shape kept; then normalisation.
    """

    module: nn.Module
    classes: tuple[str, ...]
    preprocessing: Preprocessing

    @torch.inference_mode()
    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of an upright image [H, W, 3]: [len(classes) + 1, h, w] on the grid of the input, over the whole image."""
        height, width = image.shape[:2]
        scale = self.preprocessing.fit.size / max(height, width)
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        scaled = np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        inputs = self.preprocessing.normalise(scaled[None]).to(device_of(self.module))
        probabilities: NDArray[np.float32] = segment(self.module, inputs)[0].float().softmax(dim=0).cpu().numpy()
        return probabilities

    def mask(
        self, image: NDArray[np.uint8], among: Sequence[int] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Index mask uint8 [H, W] of an upright image [H, W, 3], and the probability of each pixel's class.

        Probabilities are interpolated to the image in strips, so that many classes on a large image take little memory.

        Args:
            among: class ids that the image may show; probabilities are then given that it shows no other. None for any.
        """
        coarse = self.probabilities(image)
        if among is not None:
            coarse[np.setdiff1d(np.arange(1, len(coarse)), np.add(among, 1))] = 0
            coarse /= coarse.sum(axis=0)
        height, width = image.shape[:2]
        index, sure = np.empty((height, width), np.uint8), np.empty((height, width), np.float32)
        across = interpolation_matrix(coarse.shape[2], 0, width, 0, width).T
        step = max(_STRIP // (len(coarse) * width), 1)
        for top in range(0, height, step):
            rows = slice(top, min(top + step, height))
            strip = interpolation_matrix(coarse.shape[1], 0, height, rows.start, rows.stop) @ coarse @ across
            index[rows], sure[rows] = strip.argmax(axis=0), strip.max(axis=0)
        return index, sure


def build_segmenter(arch: str, class_count: int, seed: int = 0) -> nn.Module:
    """A segmentation network with `class_count` + 1 outputs and fresh weights, drawn from the seed.

    Args:
        arch: `unet`; `torchvision:NAME` of `torchvision.models.segmentation`; `fpn:ARCH`, a feature pyramid on a
            classifier, as `build_architecture` takes it; or `module:function` of a class count.

    Raises:
        ModelError: unknown, or it cannot be built.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if arch == "unet":
            return UNet(class_count + 1)
        if arch.startswith(_PYRAMID):
            classifier = build_architecture(arch.removeprefix(_PYRAMID), class_count)
            return FeaturePyramid(classifier, class_count, class_count + 1)
        kind, _, name = arch.rpartition(":")
        if kind == "torchvision":
            return _torchvision_segmenter(name, class_count + 1)
        if not kind:
            raise ModelError(f"Expected unet, torchvision:NAME, fpn:ARCH or module:function as network, got {arch!r}")
        return build_with(arch, class_count)


def segment(module: nn.Module, inputs: Tensor) -> Tensor:
    """Logits [B, outputs, H, W] of inputs [B, 3, H, W], interpolated to the input where the network's are coarser.

    An input that is too thin for a network's strides is continued at its edges, and cut again.

    Raises:
        ModelError: the network gives no such logits.
    """
    height, width = inputs.shape[-2:]
    missing = (0, max(_LEAST_SIDE - width, 0), 0, max(_LEAST_SIDE - height, 0))
    whole = F.pad(inputs, missing, mode="replicate") if any(missing) else inputs
    outputs = module(whole.contiguous(memory_format=torch.channels_last))
    logits = outputs.get("out") if isinstance(outputs, Mapping) else outputs
    if not isinstance(logits, Tensor) or logits.ndim != 4:
        raise ModelError(f"Expected {type(module).__name__} to give logits [B, classes + 1, H, W], got others")
    logits = logits if logits.shape[-2:] == whole.shape[-2:] else resized(logits, whole)
    return logits[..., :height, :width]


def segmentation_loss(logits: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy per pixel, averaged over the pixels that are not 255, each with its image's weight.

    Args:
        logits: [B, outputs, H, W].
        masks: int64 [B, H, W]: 0 background, i + 1 class i, 255 don't know.
        weights: [B], at least 0.

    Returns:
        A scalar; 0 where no pixel counts.
    """
    losses = F.cross_entropy(logits, masks, ignore_index=VOID_INDEX, reduction="none")
    counted = (masks != VOID_INDEX) * weights[:, None, None]
    return (losses * counted).sum() / counted.sum().clamp_min(torch.finfo(losses.dtype).tiny)


def save_segmenter(path: str | Path, segmenter: Segmenter, arch: str) -> None:
    """Write a checkpoint that `load_segmenter` reads: tensors and plain values only."""
    preprocessing = segmenter.preprocessing
    torch.save(
        {
            "format": SEGMENTER_FORMAT,
            "arch": arch,
            "classes": list(segmenter.classes),
            "size": preprocessing.fit.size,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "state": segmenter.module.state_dict(),
        },
        path,
    )


def load_segmenter(path: str | Path, arch: str | None = None) -> Segmenter:
    """Read a checkpoint of `save_segmenter`.

    Args:
        arch: allows the code that a checkpoint names, where that is neither camaudit's nor a library's.

    Raises:
        ModelError: it is none, or asks to run code that was not allowed.
    """
    state = load_state(str(path))
    if state.get("format") != SEGMENTER_FORMAT:
        raise ModelError(f"Expected a segmentation network of camaudit distill in {path}, got other weights")
    named = state["arch"]
    if is_code(named.removeprefix(_PYRAMID)) and named != arch:
        raise ModelError(f"{path} asks to run {named!r}; if you trust that code, allow it with --arch {named}")
    classes = tuple(state["classes"])
    module = build_segmenter(named, len(classes))
    try:
        module.load_state_dict(state["state"])
    except RuntimeError as error:
        raise ModelError(f"The weights in {path} do not fit {named}: {first_line(error)}") from None
    preprocessing = Preprocessing(Fit(state["size"], "letterbox"), tuple(state["mean"]), tuple(state["std"]))
    return Segmenter(module.eval(), classes, preprocessing)


def load_weights(module: nn.Module, path: str) -> None:
    """Start a segmentation network from one of the same architecture and number of classes.

    Raises:
        ModelError: the weights do not fit.
    """
    state = load_state(path)
    try:
        module.load_state_dict(state["state"] if state.get("format") == SEGMENTER_FORMAT else state)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise ModelError(f"The weights in {path} do not fit {type(module).__name__}: {lines[-1].strip()}") from None


def load_backbone(module: nn.Module, path: str) -> None:
    """Start the part of a segmentation network that is a classifier's from that classifier's weights.

    Torchvision names its weights as the classifier does, or without `features.` before them.

    Raises:
        ModelError: the network has no such part, or a weight of it is missing or of another shape.
    """
    part = getattr(module, "encoder", getattr(module, "backbone", None))
    if not isinstance(part, nn.Module):
        name = type(module).__name__
        raise ModelError(f"Expected a network on a classifier's layers for --backbone-weights, got {name}")
    state = load_state(path)
    state = state["state"] if state.get("format") == CHECKPOINT_FORMAT else state
    given = {**{name.removeprefix("features."): value for name, value in state.items()}, **state}
    wanted = part.state_dict()
    for name, value in wanted.items():
        if name not in given or given[name].shape != value.shape:
            raise ModelError(f"Expected in {path} the weights of the classifier below the network, {name} is not there")
    part.load_state_dict({name: given[name] for name in wanted})


def _torchvision_segmenter(name: str, outputs: int) -> nn.Module:
    from torchvision.models import get_model, list_models, segmentation

    known: Sequence[str] = list_models(module=segmentation)
    if name not in known:
        raise ModelError(f"torchvision has no segmentation network {name!r}; it has {', '.join(known)}")
    module: nn.Module = get_model(name, weights=None, weights_backbone=None, num_classes=outputs)
    return module
