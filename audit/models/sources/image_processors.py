"""Image processors of transformers, as a fit and a normalisation that give the same input.

What a processor does is read off its fields, then tried: it and the fit are given one drawn image, and a processor
that does anything else is refused. Pixels are interpolated by the kernel that the processor uses, torch's or Pillow's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from audit.errors import ModelError
from audit.images import Fit
from audit.models.classifier import Preprocessing

_INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""By Pillow's number, which is what processors keep."""
_WARPED_FROM = 384
"""Side from which processors of ConvNeXt squash the whole image instead of cutting its centre."""
_MOST_LEVELS = 1.5
"""By which a pixel of the drawn image may differ, of 255: rounding, and a kernel of another version."""


class Processed(NamedTuple):
    """What a processor does to an upright RGB image.

    Attributes:
        bgr: whether it hands the colours over in the order blue, green, red.
    """

    preprocessing: Preprocessing
    bgr: bool


def read_processor(processor: Any, name: str) -> Processed:
    """What an image processor does, tried on a drawn image.

    Raises:
        ModelError: it does something that no fit does.
    """
    bgr = bool(getattr(processor, "do_flip_channel_order", False))
    mean, std = _affine(processor)
    try:
        processed = Processed(Preprocessing(_fit(processor), mean, std), bgr)
        differing = _largest_difference(processor, processed)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _cannot(name, str(error)) from None
    if differing > _MOST_LEVELS:
        raise _cannot(name, f"inputs would differ by {differing:.0f} of 255 levels")
    return processed


def _cannot(name: str, why: str) -> ModelError:
    return ModelError(
        f"The image processor of hf:{name} cannot be reproduced ({why}); "
        "state it all with --fit, --size, --mean and --std"
    )


def _fit(processor: Any) -> Fit:
    if not processor.do_resize:
        raise ValueError("it does not resize")
    if int(processor.resample) not in _INTERPOLATIONS:
        raise ValueError(f"it interpolates by Pillow's filter {int(processor.resample)}")
    interpolation = _INTERPOLATIONS[int(processor.resample)]
    if interpolation == "bicubic" and processor.backend == "torchvision":
        interpolation = "bicubic-torch"
    size = dict(processor.size)
    short, share = size.get("shortest_edge"), getattr(processor, "crop_pct", None)
    if short and share:
        if short >= _WARPED_FROM:
            return Fit(short, "squash", None, interpolation)
        return Fit(short, "crop", int(short / share), interpolation, "down")
    if not processor.do_center_crop:
        return Fit(_square(size), "squash", None, interpolation)
    cut = _square(dict(processor.crop_size))
    if short:
        return Fit(cut, "crop", short, interpolation, "down")
    return Fit(cut, "squash-crop", _square(size), interpolation, "down")


def _square(size: dict[str, int]) -> int:
    if set(size) != {"height", "width"} or size["height"] != size["width"]:
        raise ValueError(f"its images are not square: {size}")
    return int(size["height"])


def _affine(processor: Any) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of values in 0..1 that do what the processor's scaling and normalisations do."""
    scale = 255 * processor.rescale_factor if processor.do_rescale else 255.0
    offset = 1.0 if processor.do_rescale and getattr(processor, "rescale_offset", False) else 0.0
    mean, std = np.zeros(3), np.ones(3)
    if processor.do_normalize:
        mean, std = (np.broadcast_to(values, 3) for values in (processor.image_mean, processor.image_std))
    # EfficientNet's divides by the deviation once more, as the network was trained.
    twice = np.broadcast_to(processor.image_std, 3) if getattr(processor, "include_top", False) else np.ones(3)
    return _three((mean + offset) / scale), _three(std * twice / scale)


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    first, second, third = values.tolist()
    return first, second, third


def _largest_difference(processor: Any, processed: Processed) -> float:
    """Between the processor's input and ours, of a drawn image wider than high, in levels of a pixel."""
    image = _drawn()
    theirs = processor(image, return_tensors="pt", input_data_format="channels_last")["pixel_values"][0]
    preprocessing = processed.preprocessing
    ours = preprocessing.normalise(np.stack([preprocessing.fit(image)[0]]))[0]
    theirs = theirs.flip(0) if processed.bgr else theirs
    if ours.shape != theirs.shape:
        raise ValueError(f"its inputs are {tuple(theirs.shape)}, ours {tuple(ours.shape)}")
    levels = (ours - theirs) * torch.tensor(preprocessing.std).view(3, 1, 1) * 255
    return float(levels.abs().max())


def _drawn() -> NDArray[np.uint8]:
    """A smooth image [H, W, 3], another one in each colour, so that a shift or an exchanged colour would show."""
    y, x = np.mgrid[0:411, 0:637] / 100
    waves = [np.sin(3 * x + y), np.sin(2 * y - x) * np.cos(x), np.cos(4 * y + 2 * x)]
    return np.stack([127.5 + 100 * wave for wave in waves], axis=2).round().astype(np.uint8)
