"""torchvision's detectors resize and normalise by themselves: what of that a square input can have."""

from __future__ import annotations

from torchvision.models.detection.transform import GeneralizedRCNNTransform

from audit.images import Fit
from audit.models.classifier import Preprocessing


def preprocessing_of(transform: GeneralizedRCNNTransform) -> Preprocessing:
    """The network's own normalisation; its fixed size, or the length of the shorter side as that of the longer.

    With a fixed size the image is squashed, as the network would; else it keeps its shape and is padded.
    """
    mean, std = tuple(map(float, transform.image_mean)), tuple(map(float, transform.image_std))
    fixed = transform.fixed_size
    fit = Fit(int(fixed[0]), "squash") if fixed else Fit(int(transform.min_size[-1]), "letterbox")
    return Preprocessing(fit, mean, std)  # type: ignore[arg-type]
