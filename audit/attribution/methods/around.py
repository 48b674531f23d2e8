"""Methods around another one, whose maps of several versions of an image they unite.

SmoothGrad (Smilkov et al. 2017), `MultiScale` and `Flip`, as weakly supervised segmentation does with CAM (Ahn and
Kwak, CVPR 2018). Classes are always chosen from the logits of the image as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from audit.attribution.method import Attribution, Choose, Cost, Method
from audit.attribution.taps import probing
from audit.errors import ModelError


class Around(Method):
    """A method around another one: the same classifier and grid, the other's passes several times.

    Args:
        inner: not entered; entering this enters it.
    """

    def __init__(self, inner: Method) -> None:
        super().__init__(inner.classifier)  # in the precision asked for already
        self.execution = inner.execution
        self.inner = inner
        self.pixels = inner.pixels
        inner.progress = lambda images: self.progress(images)

    def __enter__(self) -> Self:
        self._exits.enter_context(self.inner)
        return self

    @property
    def grid(self) -> tuple[int, int]:
        return self.inner.grid

    @property
    def any_shape(self) -> bool:
        return self.inner.any_shape

    @property
    def compiles(self) -> bool:
        return self.inner.compiles

    @property
    def head(self) -> str | None:
        return self.inner.head

    def outputs(self, images: Tensor) -> Tensor:
        return self.inner.outputs(images)

    def _choose(self, images: Tensor, choose: Choose) -> tuple[Tensor, Tensor]:
        """Class ids [B, K] and the outputs that they were chosen from."""
        outputs = self.outputs(images)
        return choose(self.classifier.class_logits(outputs)), outputs

    def _maps(self, images: Tensor, class_ids: Tensor) -> Tensor:
        """The inner method's maps of classes already chosen."""
        return self.inner.attribute(images, lambda _logits: class_ids).maps


class SmoothGrad(Around):
    """SmoothGrad (Smilkov et al. 2017): the mean of the maps of noisy copies of the image.

    The noise is normal; its standard deviation is a share of the range of the image's values, as the network gets them.
    Every image gets the same patterns, drawn from the seed, so that no image depends on its batch. The paper averages
    dy^c/dx itself; here the finished maps are averaged, whatever the inner method, which for `saliency` come after the
    absolute value, as with Captum's NoiseTunnel around its Saliency.

    Args:
        samples: noisy copies, at least 1.
        noise: standard deviation as a share of the range; the paper advises 0.1 to 0.2.
        seed: of the noise.

    Raises:
        ValueError: other samples, or a negative noise.
    """

    name = "smoothgrad"
    description = "mean of the maps of noisy copies of the image"
    paper = "Smilkov et al., arXiv 1706.03825, 2017"
    forward_passes = "1 + those of the inner method `samples` (16) times"
    backward_passes = "those of the inner method `samples` (16) times"

    def __init__(self, inner: Method, *, samples: int = 16, noise: float = 0.15, seed: int = 0) -> None:
        super().__init__(inner)
        if samples < 1:
            raise ValueError(f"Expected `samples` of at least 1, got {samples}")
        if not 0 <= noise < float("inf"):
            raise ValueError(f"Expected `noise` as a share of the image's range, 0 or above, got {noise}")
        self.samples = samples
        self.noise = noise
        self.seed = seed

    def cost(self, targets: int) -> Cost:
        each = self.inner.cost(targets)
        return Cost(1 + self.samples * each.forward, self.samples * each.backward)

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        class_ids, outputs = self._choose(images, choose)
        deviation = self.noise * (images.amax(dim=(1, 2, 3)) - images.amin(dim=(1, 2, 3)))
        generator = torch.Generator().manual_seed(self.seed)
        total = torch.zeros(())
        for _ in range(self.samples):
            pattern = torch.randn(images.shape[1:], generator=generator).to(images.device)
            total = total + self._maps(images + deviation.view(-1, 1, 1, 1) * pattern, class_ids)
        return self._finish(total / self.samples, class_ids, outputs)


class MultiScale(Around):
    """The sum of the maps of the image at several sizes, each brought to the grid of the image's own size.

    Images and maps are resized bilinearly (corners not aligned), images smoothed where they shrink. Sums of raw maps:
    where a method's values depend on the size, so do the shares of the scales. Behind a mean over positions the
    gradient at one of them falls with their number, so that small sizes count most.

    Args:
        scales: of the input's side, all positive; or the same as a string, `0.5,1,1.5,2`.
        even: 1 multiplies each size's maps by its number of positions, as a share of that of the image's own size. Then
            all sizes count alike behind a mean. 0 leaves them.

    Raises:
        ValueError: no scales, or one that is not positive.
        ModelError: the network does not take inputs of these sizes.
    """

    name = "multiscale"
    moves = True
    description = "sum of the maps of the image at several sizes"
    paper = "after Ahn and Kwak, CVPR 2018"
    forward_passes = "those of the inner method for each of `scales` (0.5, 1, 1.5, 2)"
    backward_passes = "those of the inner method for each of `scales` (0.5, 1, 1.5, 2)"

    def __init__(
        self, inner: Method, *, scales: Sequence[float] | float | str = (0.5, 1, 1.5, 2), even: int = 0
    ) -> None:
        super().__init__(inner)
        self.scales, self.even = _numbers(scales), bool(even)
        possible = all(0 < scale < torch.inf for scale in self.scales)
        if not self.scales or len(set(self.scales)) < len(self.scales) or not possible:
            raise ValueError(f"Expected `scales` to be different numbers above 0, as 0.5,1,2, got {scales!r}")
        self._check_sizes()

    def cost(self, targets: int) -> Cost:
        each, count = self.inner.cost(targets), len(self.scales)
        return Cost((1 not in self.scales) + count * each.forward, count * each.backward)

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        if 1 in self.scales:
            attribution = self.inner.attribute(images, choose)
            class_ids, total = attribution.class_ids, attribution.maps
        else:
            class_ids, outputs = self._choose(images, choose)
            attribution = self._finish(
                torch.zeros(*class_ids.shape, *self.grid, device=outputs.device), class_ids, outputs
            )
            total = attribution.maps
        for scale in self.scales:
            if scale != 1:
                maps = self._maps(_scaled(images, scale), class_ids)
                grid = total.shape[-2:]
                share = maps.shape[-2:].numel() / grid.numel() if self.even else 1.0
                total = total + resized(maps, grid) * share
        return replace(attribution, maps=total)

    def _check_sizes(self) -> None:
        example = self.classifier.example()
        for scale in self.scales:
            try:
                with probing(self.classifier.module), torch.inference_mode():
                    self.classifier.module(_scaled(example, scale))
            except Exception as error:  # networks' own errors have no common ancestor
                raise ModelError(
                    f"Expected a network for inputs of any size for --method {self.name}, but one of "
                    f"{round(scale * example.shape[-1])} px (scale {scale:g}) fails; choose other scales or methods"
                ) from error


class Flip(Around):
    """The mean of the maps of the image and of its mirror image, the latter mirrored back."""

    name = "flip"
    moves = True
    description = "mean of the maps of the image and its mirror image"
    paper = "after Ahn and Kwak, CVPR 2018"
    forward_passes = "those of the inner method twice"
    backward_passes = "those of the inner method twice"

    def cost(self, targets: int) -> Cost:
        each = self.inner.cost(targets)
        return Cost(2 * each.forward, 2 * each.backward)

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        attribution = self.inner.attribute(images, choose)
        mirrored = self._maps(images.flip(3), attribution.class_ids).flip(3)
        return replace(attribution, maps=(attribution.maps + mirrored) / 2)


def resized(maps: Tensor, grid: Sequence[int]) -> Tensor:
    """Maps [B, K, h, w] on another grid, bilinearly."""
    if tuple(maps.shape[-2:]) == tuple(grid):
        return maps
    return F.interpolate(maps, size=tuple(grid), mode="bilinear", align_corners=False)


def _scaled(images: Tensor, scale: float) -> Tensor:
    """Images at another size, smoothed where they shrink."""
    if scale == 1:
        return images
    size = tuple(max(1, round(scale * side)) for side in images.shape[-2:])
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=scale < 1)


def _numbers(given: Sequence[float] | float | str) -> tuple[float, ...]:
    """`0.5,1`, a number or a sequence as numbers; none of them if one is not."""
    if isinstance(given, int | float):
        return (float(given),)
    try:
        return tuple(float(part) for part in (given.split(",") if isinstance(given, str) else given))
    except (TypeError, ValueError):
        return ()
