"""Models of torchvision: `torchvision:NAME`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from audit.errors import ModelError
from audit.images import Fit
from audit.models.classifier import Preprocessing
from audit.models.sources.source import IMAGENET_PREPROCESSING, Built, Source, with_weights
from audit.models.sources.spec import ModelSpec
from audit.models.weights import first_line


def load(name: str, spec: ModelSpec) -> Built:
    """With weights of a name, of a file, or random ones; classes and preprocessing are those of the weights."""
    from torchvision.models import get_model_weights

    module = _module(name)
    known = get_model_weights(name)
    default = known.DEFAULT
    if spec.weights is None:
        choices = ", ".join(entry.name for entry in known)
        raise ModelError(f"Expected --weights for torchvision:{name}: {choices}, a state-dict file or random:SEED")
    if spec.weights in known.__members__:
        chosen = known[spec.weights]
        module.load_state_dict(_download(chosen))
        return Built(module, tuple(chosen.meta["categories"]), _preprocessing(chosen))
    built = Built(module, tuple(default.meta["categories"]), _preprocessing(default))
    return with_weights(built, spec.weights, lambda count: _module(name, num_classes=count))


def architecture(name: str, class_count: int) -> nn.Module:
    """With so many outputs and fresh weights."""
    return _with_free_logits(_module(name, num_classes=class_count))


SOURCE = Source("torchvision", load, architecture)


def _module(name: str, **options: Any) -> nn.Module:
    from torchvision.models import detection, get_model, list_models, segmentation

    if name not in list_models():
        raise ModelError(f"torchvision has no model {name!r}; see torchvision.models.list_models()")
    extra: dict[str, Any] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if name in (*list_models(detection), *list_models(segmentation)):
        extra["weights_backbone"] = None  # else they would be downloaded, to be overwritten
    module: nn.Module = get_model(name, weights=None, **options, **extra)
    return module


def _with_free_logits(module: nn.Module) -> nn.Module:
    """SqueezeNet without the ReLU behind its last convolution: logits never below 0 cannot say no after a sigmoid."""
    from torchvision.models import SqueezeNet

    if isinstance(module, SqueezeNet):
        module.classifier[2] = nn.Identity()
    return module


def _download(weights: Any) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
    except OSError as error:
        reason = first_line(error)
        raise ModelError(f"Cannot download {weights} from {weights.url} ({reason}); pass --weights FILE") from None
    return state


def _preprocessing(weights: Any) -> Preprocessing:
    preset = weights.transforms()
    if not hasattr(preset, "mean"):  # a detector's, which says itself how it takes images
        return IMAGENET_PREPROCESSING
    if not hasattr(preset, "crop_size"):  # of a network that segments: nothing is cut off
        return Preprocessing(Fit(preset.resize_size[0], "letterbox"), tuple(preset.mean), tuple(preset.std))
    interpolation = "bicubic" if preset.interpolation.value == "bicubic" else "bilinear"
    fit = Fit(preset.crop_size[0], "crop", preset.resize_size[0], interpolation)
    return Preprocessing(fit, tuple(preset.mean), tuple(preset.std))
