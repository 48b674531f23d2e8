"""What the explained layer holds of images, what its channels add to a class, and the logit without parts of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from audit.attribution.taps import tapped
from audit.errors import ModelError
from audit.models import Classifier
from audit.models.layers import Layout


def activation_of(classifier: Classifier, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """[B, h, w, C] of the target layer, of inputs [B, 3, H, W]."""
    kept: list[Tensor] = []
    with torch.inference_mode(), tapped(classifier.target_layer, lambda output: kept.append(output.clone())):
        classifier.module(_inputs(classifier, torch.from_numpy(images)))
    grid = _layout(classifier, kept[-1]).to_grid(kept[-1])
    held: NDArray[np.float32] = grid.permute(0, 2, 3, 1).float().cpu().numpy()
    return held


def class_weights(classifier: Classifier, images: NDArray[np.float32], class_ids: Sequence[int]) -> NDArray[np.float64]:
    """[B, C] what a channel's mean over positions adds to the logit of each image's class, to first order.

    It is the gradient of the logit, summed over positions. Behind pooling and a linear head it is the class's row of
    the head's weights, whatever the image.

    Raises:
        ModelError: the logit has no gradient at the layer.
    """
    leaves: list[Tensor] = []

    def put(output: Tensor) -> Tensor:
        torch.set_grad_enabled(True)  # until the end of no_grad
        leaves.append(output.detach().clone().requires_grad_())
        return leaves[-1].clone()

    with torch.no_grad(), tapped(classifier.target_layer, put):
        logits = classifier.class_logits(classifier.module(_inputs(classifier, torch.from_numpy(images))))
        value = logits.gather(1, torch.as_tensor(class_ids, device=logits.device)[:, None]).sum()
    slopes = torch.autograd.grad(value, leaves[-1], allow_unused=True)[0] if value.requires_grad else None
    if slopes is None:
        raise ModelError(f"The model's outputs have no gradient at its layer {classifier.layer!r}; take --way nmf")
    summed: NDArray[np.float64] = _layout(classifier, slopes).to_grid(slopes).sum(dim=(2, 3)).double().cpu().numpy()
    return summed


def logits_without(
    classifier: Classifier, image: NDArray[np.float32], parts: NDArray[np.floating], class_id: int
) -> NDArray[np.float64]:
    """The class's logit [1 + K] of an image [3, H, W]: as it is, and with each part taken out of the layer.

    Args:
        parts: [K, h, w, C].
    """
    images = torch.from_numpy(image)[None].expand(1 + len(parts), -1, -1, -1)

    def take_out(output: Tensor) -> Tensor:
        return output - _laid_out(_layout(classifier, output), torch.from_numpy(parts).to(output)).to(output)

    with torch.inference_mode(), tapped(classifier.target_layer, take_out):
        outputs = classifier.module(_inputs(classifier, images))
        answers: NDArray[np.float64] = classifier.class_logits(outputs)[:, class_id].double().cpu().numpy()
    return answers


def _inputs(classifier: Classifier, images: Tensor) -> Tensor:
    return images.to(classifier.device).contiguous(memory_format=torch.channels_last)


def _layout(classifier: Classifier, output: Tensor) -> Layout:
    layout = Layout.of(output.shape)
    if layout is None:
        raise ModelError(f"Expected the layer {classifier.layer!r} to have a grid, got {list(output.shape)}")
    return layout


def _laid_out(layout: Layout, removed: Tensor) -> Tensor:
    """[K, h, w, C] as the layer gives it, with nothing taken out of a first image and of prefix tokens."""
    removed = F.pad(removed, (0, 0, 0, 0, 0, 0, 1, 0))
    if layout.kind == "channels_first":
        return removed.permute(0, 3, 1, 2)
    return removed if layout.kind == "channels_last" else F.pad(removed.flatten(1, 2), (0, 0, layout.prefix, 0))
