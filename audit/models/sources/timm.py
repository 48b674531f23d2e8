"""Models of timm: `timm:NAME`."""

from __future__ import annotations

from typing import Any

from torch import nn

from audit.errors import ModelError
from audit.images import Fit
from audit.models.classifier import Preprocessing
from audit.models.sources.source import Built, Source, with_weights
from audit.models.sources.spec import ModelSpec
from audit.models.weights import first_line


def load(name: str, spec: ModelSpec) -> Built:
    """With timm's own weights, those of a file, or random ones; preprocessing is the model's."""
    weights = spec.weights or "pretrained"
    module = _module(name, pretrained=weights == "pretrained")
    from timm.data.config import resolve_model_data_config

    data = resolve_model_data_config(module)
    size = int(data["input_size"][-1])
    interpolation = "bicubic" if data["interpolation"] == "bicubic" else "bilinear"
    fit = Fit(size, "crop", round(size / data["crop_pct"]), interpolation)
    built = Built(module, _imagenet_names(module), Preprocessing(fit, tuple(data["mean"]), tuple(data["std"])))
    if weights == "pretrained":
        return built
    return with_weights(built, weights, lambda count: _module(name, num_classes=count))


def architecture(name: str, class_count: int) -> nn.Module:
    """With so many outputs and fresh weights."""
    return _module(name, num_classes=class_count)


SOURCE = Source("timm", load, architecture)


def _module(name: str, **options: Any) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise ModelError("timm is not installed; install it with: pip install 'camaudit[timm]'") from None
    try:
        module: nn.Module = timm.create_model(name, **options)
    except RuntimeError as error:
        raise ModelError(f"timm cannot build {name!r}: {first_line(error)}") from None
    except OSError as error:
        raise ModelError(f"Cannot download weights of timm:{name} ({first_line(error)}); pass --weights FILE") from None
    return module


def _imagenet_names(module: nn.Module) -> tuple[str, ...] | None:
    """ImageNet's category names for a model with its 1000 outputs."""
    from torchvision.models import ResNet18_Weights

    names = tuple(ResNet18_Weights.DEFAULT.meta["categories"])
    return names if getattr(module, "num_classes", None) == len(names) else None
