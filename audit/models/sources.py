"""Where models come from: torchvision, timm, a checkpoint file, or a function that builds one."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from audit.datasets.classes import VOC_CLASSES
from audit.errors import ModelError
from audit.images import Fit
from audit.models.class_names import OutputNames
from audit.models.classifier import ACTIVATIONS, Classifier, Preprocessing
from audit.models.layers import find_target_layer
from audit.models.weights import CHECKPOINT_FORMAT, first_line, load_state
from audit.trusted import KNOWN_CODE, STATE_SUFFIXES


@dataclass(frozen=True)
class ModelSpec:
    """A model as named on the command line, small enough to send to every worker.

    Attributes:
        model: `torchvision:NAME`, `timm:NAME`, `PATH.pt`, `module:function` or `PATH.py:function`.
        weights: a torchvision weights name, `pretrained` (timm), a state-dict file, or `random:SEED`.
        arch: the architecture of a bare state dict `PATH.pt`, as one of the other forms of `model`; also allows a
            checkpoint to be built by the function that it names.
        layer: dotted name of the target layer; found by running the model if None.
        mapping: file that maps the data set's classes to the model's; see `audit.datasets.classes.map_classes`.
        size, mode, resize, mean, std: preprocessing, where it is to differ from the weights' own.
        activation: `softmax`, `sigmoid`, or `none`; see `audit.models.classifier.ACTIVATIONS`.
        classes: names of the model's outputs, in their order, where it has none or others are meant.
    """

    model: str
    weights: str | None = None
    arch: str | None = None
    layer: str | None = None
    mapping: str | None = None
    size: int | None = None
    mode: str | None = None
    resize: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    activation: str | None = None
    classes: tuple[str, ...] | None = None


_IMAGENET_PREPROCESSING = Preprocessing(Fit(224, "crop", 256))


@dataclass(frozen=True)
class _Source:
    """A built module and what its origin says about it.

    Attributes:
        classes: a name for each output.
        code: the Python module whose function built it, which may name them too.
    """

    module: nn.Module
    classes: tuple[str, ...] | None = None
    preprocessing: Preprocessing = _IMAGENET_PREPROCESSING
    activation: str = "softmax"
    code: ModuleType | None = None


def load_classifier(
    model: str | ModelSpec, weights: str | None = None, classes: str | Sequence[str] | None = None, **options: Any
) -> Classifier:
    """Build a classifier that answers for a data set's classes.

    Args:
        model: a `ModelSpec`, or the name that begins one; `weights` and `options` are then its other fields.
        classes: the data set's class names, `"voc"`, or None for the model's own: those of the spec, of its origin, or
            of an attribute; else `class 7`; see `audit.models.class_names`.

    Raises:
        ModelError: unknown name, weights that do not fit, a layer that does not exist, classes that do not map, more or
            fewer names than outputs.
    """
    spec = model if isinstance(model, ModelSpec) else ModelSpec(model, weights, **options)
    with _seeded(spec.weights):
        source = _build(spec)
    module = source.module.eval()
    preprocessing = _preprocessing(spec, source.preprocessing)
    example = torch.zeros(1, 3, preprocessing.fit.size, preprocessing.fit.size)
    outputs = _output_count(module, example, spec)
    names = OutputNames.of(spec.classes or source.classes, source.module, source.code, outputs)
    mapping = names.mapping(VOC_CLASSES if classes == "voc" else classes, spec.mapping)
    layer = spec.layer or find_target_layer(module, example)
    _check_layer(module, layer)
    return Classifier(module, preprocessing, mapping, layer, _activation(spec, source))


def save_checkpoint(
    path: str | Path,
    module: nn.Module,
    arch: str,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    activation: str,
) -> None:
    """Write a checkpoint that `load_classifier` reads without further options: tensors and plain values only."""
    fit = preprocessing.fit
    torch.save(
        {
            "format": CHECKPOINT_FORMAT,
            "arch": arch,
            "classes": list(classes),
            "fit": [fit.size, fit.mode, fit.resize, fit.interpolation],
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "activation": activation,
            "state": module.state_dict(),
        },
        path,
    )


def build_architecture(arch: str, class_count: int) -> nn.Module:
    """A module of `torchvision:NAME`, `timm:NAME` or `module:function` with `class_count` outputs and fresh weights."""
    kind, _, name = arch.rpartition(":")
    if kind == "torchvision":
        return _with_free_logits(_torchvision_module(name, num_classes=class_count))
    if kind == "timm":
        return _timm_module(name, num_classes=class_count)
    return build_with(arch, class_count)


def build_with(function: str, class_count: int) -> nn.Module:
    """What `module:function` or `PATH.py:function` makes of a class count."""
    module = _function(function)[0](class_count)
    if not isinstance(module, nn.Module):
        raise ModelError(f"Expected {function} to return a torch module, got {type(module).__name__}")
    return module


def _build(spec: ModelSpec) -> _Source:
    kind, _, name = spec.model.rpartition(":")
    if kind == "torchvision":
        return _from_torchvision(name, spec)
    if kind == "timm":
        return _from_timm(name, spec)
    if Path(spec.model).suffix in STATE_SUFFIXES:
        return _from_checkpoint(spec)
    if kind:
        return _from_function(spec)
    raise ModelError(f"Expected a model as torchvision:NAME, timm:NAME, PATH.pt or module:function, got {spec.model!r}")


def _from_torchvision(name: str, spec: ModelSpec) -> _Source:
    from torchvision.models import get_model_weights

    module = _torchvision_module(name)
    known = get_model_weights(name)
    default = known.DEFAULT
    if spec.weights is None:
        choices = ", ".join(entry.name for entry in known)
        raise ModelError(f"Expected --weights for torchvision:{name}: {choices}, a state-dict file or random:SEED")
    if spec.weights in known.__members__:
        chosen = known[spec.weights]
        module.load_state_dict(_download(chosen))
        return _Source(module, tuple(chosen.meta["categories"]), _torchvision_preprocessing(chosen))
    source = _Source(module, tuple(default.meta["categories"]), _torchvision_preprocessing(default))
    return _with_weights(source, spec.weights, lambda count: _torchvision_module(name, num_classes=count))


def _from_timm(name: str, spec: ModelSpec) -> _Source:
    weights = spec.weights or "pretrained"
    module = _timm_module(name, pretrained=weights == "pretrained")
    from timm.data.config import resolve_model_data_config

    data = resolve_model_data_config(module)
    size = int(data["input_size"][-1])
    interpolation = "bicubic" if data["interpolation"] == "bicubic" else "bilinear"
    fit = Fit(size, "crop", round(size / data["crop_pct"]), interpolation)
    source = _Source(module, _imagenet_names(module), Preprocessing(fit, tuple(data["mean"]), tuple(data["std"])))
    if weights == "pretrained":
        return source
    return _with_weights(source, weights, lambda count: _timm_module(name, num_classes=count))


def _from_checkpoint(spec: ModelSpec) -> _Source:
    state = load_state(spec.model)
    if state.get("format") == CHECKPOINT_FORMAT:
        module = build_architecture(_trusted(state["arch"], spec), len(state["classes"]))
        _load(module, state["state"], spec.model)
        fit = Fit(*state["fit"])
        preprocessing = Preprocessing(fit, tuple(state["mean"]), tuple(state["std"]))
        return _Source(module, tuple(state["classes"]), preprocessing, state["activation"])
    if spec.arch is None:
        raise ModelError(f"{spec.model} holds weights only; name its architecture with --arch, as torchvision:resnet18")
    if spec.arch.rpartition(":")[0] in ("torchvision", "timm"):
        return _build(replace(spec, model=spec.arch, weights=spec.model, arch=None))
    source = _from_function(replace(spec, model=spec.arch))
    _load(source.module, state, spec.model)
    return source


def _trusted(arch: str, spec: ModelSpec) -> str:
    """The architecture that a checkpoint names, unless that is someone's code which the user has not named too."""
    if arch.rpartition(":")[0] in KNOWN_CODE or arch == spec.arch:
        return arch
    raise ModelError(f"{spec.model} asks to run {arch!r}; if you trust that code, allow it with --arch {arch}")


def _from_function(spec: ModelSpec) -> _Source:
    build, code = _function(spec.model)
    try:
        module = build()
    except Exception as error:
        raise ModelError(f"{spec.model} cannot build its model: {_described(error)}") from None
    if not isinstance(module, nn.Module):
        raise ModelError(f"Expected {spec.model} to return a torch module, got {type(module).__name__}")
    source = _Source(module, code=code)
    return source if spec.weights is None else _with_weights(source, spec.weights, None)


def _with_weights(source: _Source, weights: str, rebuild: Callable[[int], nn.Module] | None) -> _Source:
    """Load a state dict, or draw random weights; where its head has another size, rebuild the module for it."""
    if weights.startswith("random:"):
        return replace(source, module=_randomised(source.module))
    state = load_state(weights)
    module_state = source.module.state_dict()
    head = next((key for key in reversed(module_state) if module_state[key].ndim), None)
    if rebuild is not None and head in state and state[head].shape != module_state[head].shape:
        source = replace(source, module=rebuild(len(state[head])), classes=None)
    _load(source.module, state, weights)
    return source


def _load(module: nn.Module, state: dict[str, Tensor], path: str) -> None:
    try:
        module.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        lines = str(error).splitlines()
        detail = lines[1].strip() if len(lines) > 1 else first_line(error)
        raise ModelError(f"The weights in {path} do not fit {type(module).__name__}: {detail}") from None


@contextmanager
def _seeded(weights: str | None) -> Iterator[None]:
    """With `random:SEED`, what is drawn here follows from the seed; the caller's generator is as before."""
    kind, _, seed = (weights or "").partition(":")
    if kind == "random" and not seed.isdigit():
        raise ModelError(f"Expected random weights as random:SEED with a whole number, got {weights!r}")
    with torch.random.fork_rng(devices=[]):
        if kind == "random":
            torch.manual_seed(int(seed))
        yield


def _randomised(module: nn.Module) -> nn.Module:
    """The module with fresh weights, also where it came with others."""
    for part in module.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
    return module


def _torchvision_module(name: str, **options: Any) -> nn.Module:
    from torchvision.models import get_model, list_models

    if name not in list_models():
        raise ModelError(f"torchvision has no model {name!r}; see torchvision.models.list_models()")
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module: nn.Module = get_model(name, weights=None, **options, **extra)
    return module


def _with_free_logits(module: nn.Module) -> nn.Module:
    """SqueezeNet without the ReLU behind its last convolution: logits never below 0 cannot say no after a sigmoid."""
    from torchvision.models import SqueezeNet

    if isinstance(module, SqueezeNet):
        module.classifier[2] = nn.Identity()
    return module


def _timm_module(name: str, **options: Any) -> nn.Module:
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


def _download(weights: Any) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
    except OSError as error:
        reason = first_line(error)
        raise ModelError(f"Cannot download {weights} from {weights.url} ({reason}); pass --weights FILE") from None
    return state


def _torchvision_preprocessing(weights: Any) -> Preprocessing:
    preset = weights.transforms()
    interpolation = "bicubic" if preset.interpolation.value == "bicubic" else "bilinear"
    fit = Fit(preset.crop_size[0], "crop", preset.resize_size[0], interpolation)
    return Preprocessing(fit, tuple(preset.mean), tuple(preset.std))


def _imagenet_names(module: nn.Module) -> tuple[str, ...] | None:
    """ImageNet's category names for a model with its 1000 outputs."""
    from torchvision.models import ResNet18_Weights

    names = tuple(ResNet18_Weights.DEFAULT.meta["categories"])
    return names if getattr(module, "num_classes", None) == len(names) else None


def _function(name: str) -> tuple[Callable[..., Any], ModuleType]:
    """The function named `module:function` or `PATH.py:function`, and that module."""
    place, _, attribute = name.rpartition(":")
    try:
        module = _module_from_file(place) if place.endswith(".py") else importlib.import_module(place)
    except Exception as error:  # it is anyone's code
        raise ModelError(f"Cannot import {place!r} of model {name!r}: {_described(error)}") from None
    function = getattr(module, attribute, None)
    if not callable(function):
        raise ModelError(f"Expected a function {attribute!r} in {place}, found none")
    return function, module


def _module_from_file(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _preprocessing(spec: ModelSpec, default: Preprocessing) -> Preprocessing:
    fit = default.fit
    mode = spec.mode or fit.mode
    size = spec.size or fit.size
    resize = spec.resize or (round(fit.resize * size / fit.size) if fit.resize else None)
    try:
        fit = Fit(size, mode, resize if mode == "crop" else None, fit.interpolation)
    except ValueError as error:
        raise ModelError(str(error)) from None
    return Preprocessing(fit, spec.mean or default.mean, spec.std or default.std)


def _activation(spec: ModelSpec, source: _Source) -> str:
    activation = spec.activation or source.activation
    if activation not in ACTIVATIONS:
        raise ModelError(f"Expected the activation to be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    return activation


def _output_count(module: nn.Module, example: Tensor, spec: ModelSpec) -> int:
    with torch.inference_mode():
        try:
            output = module(example)
        except Exception as error:
            size = example.shape[-1]
            raise ModelError(f"{spec.model} cannot take an input of {size}x{size}: {_described(error)}") from None
    if not isinstance(output, Tensor) or output.ndim != 2:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(f"Expected {spec.model} to give logits [B, classes], got {shape}")
    return int(output.shape[1])


def _check_layer(module: nn.Module, layer: str) -> None:
    names = [name for name, _ in module.named_modules() if name]
    if layer not in names:
        near = [name for name in names if "." not in name]
        raise ModelError(f"Expected --layer to name a module, got {layer!r}; top-level modules: {', '.join(near)}")


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
