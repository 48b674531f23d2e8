"""Image classifiers of transformers, from the Hugging Face hub or a folder: `hf:NAME`.

The class of the network is one of transformers' own, and weights are tensors: code that lies beside them is never run.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from audit.errors import ModelError
from audit.images import Fit
from audit.models.classifier import Preprocessing
from audit.models.sources.image_processors import Processed, read_processor
from audit.models.sources.source import IMAGENET_PREPROCESSING, Built, Source, with_weights
from audit.models.sources.spec import ModelSpec
from audit.models.weights import first_line


class Logits(nn.Module):
    """A network of transformers that takes images [B, 3, H, W], RGB, and gives its logits [B, outputs] alone.

    Args:
        bgr: whether the network was trained on blue, green, red.
    """

    def __init__(self, network: nn.Module, bgr: bool = False) -> None:
        super().__init__()
        self.network = network
        self.bgr = bgr
        self._interpolates = "interpolate_pos_encoding" in inspect.signature(network.forward).parameters

    def forward(self, images: Tensor) -> Tensor:
        options = {"interpolate_pos_encoding": True} if self._interpolates else {}
        logits: Tensor = self.network(pixel_values=images.flip(1) if self.bgr else images, **options).logits
        return logits


def load(name: str, spec: ModelSpec) -> Built:
    """With the weights of the hub or the folder, those of a file, or random ones; labels and preprocessing are its own.

    Raises:
        ModelError: there is no such model, or it is no image classifier of transformers; weights of its head are
            missing; or its image processor does what no fit does, and the spec does not say what to do instead.
    """
    config = _config(name)
    if type(config) in _transformers().MODEL_FOR_OBJECT_DETECTION_MAPPING:
        return _detector(name, config, spec)
    if _segments(config):
        return _segmenter(name, config, spec)
    weights = spec.weights or "pretrained"
    network = _pretrained(name, config) if weights == "pretrained" else _fresh(name, config)
    processed = _processed(name, spec)
    built = Built(Logits(network, processed.bgr), _labels(config), processed.preprocessing, _activation(config))
    if weights == "pretrained" or weights.startswith("random:"):
        return built
    return with_weights(built, weights, lambda count: Logits(_fresh(name, config, count), processed.bgr))


def architecture(name: str, class_count: int) -> nn.Module:
    """With so many outputs and fresh weights."""
    return Logits(_fresh(name, _config(name), class_count))


SOURCE = Source("hf", load, architecture)


def _config(name: str) -> Any:
    transformers = _transformers()
    with _told(name):
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
    known = (transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, transformers.MODEL_FOR_OBJECT_DETECTION_MAPPING)
    if not any(type(config) in mapping for mapping in known) and not _segments(config):
        kinds = ", ".join(config.architectures or [config.model_type])
        wanted = "an image classifier, a detector or a network for semantic segmentation"
        raise ModelError(f"Expected hf:{name} to be {wanted} of transformers, got {kinds}")
    return config


def _detector(name: str, config: Any, spec: ModelSpec) -> Built:
    """A detector as it comes, or with random weights or those of a file; `aimed.detectors` knows its output."""
    automatic, weights = _transformers().AutoModelForObjectDetection, spec.weights or "pretrained"
    if weights == "pretrained":
        network = _pretrained(name, config, automatic)
    else:
        with _told(name):
            network = automatic.from_config(config)
    built = Built(network, _labels(config), _whole_image(name, spec))
    return built if weights == "pretrained" or weights.startswith("random:") else with_weights(built, weights, None)


def _segments(config: Any) -> bool:
    return any(name.endswith("ForSemanticSegmentation") for name in config.architectures or ())


def _segmenter(name: str, config: Any, spec: ModelSpec) -> Built:
    """A network for semantic segmentation, with weights as a detector's."""
    automatic, weights = _transformers().AutoModelForSemanticSegmentation, spec.weights or "pretrained"
    if weights == "pretrained":
        network = _pretrained(name, config, automatic)
    else:
        with _told(name):
            network = automatic.from_config(config)
    built = Built(Logits(network), _labels(config), _whole_image(name, spec))
    return built if weights == "pretrained" or weights.startswith("random:") else with_weights(built, weights, None)


def _whole_image(name: str, spec: ModelSpec) -> Preprocessing:
    """The processor's size, to which the image is squashed, or else its shorter side as that of a letterbox."""
    if spec.mode and spec.size and spec.mean and spec.std:
        return IMAGENET_PREPROCESSING
    with _told(name):
        processor = _transformers().AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
        size, plain = dict(processor.size), not processor.do_normalize
        fit = Fit(size["height"], "squash") if "height" in size else Fit(size["shortest_edge"], "letterbox")
        mean, std = ((0.0,) * 3, (1.0,) * 3) if plain else (processor.image_mean, processor.image_std)
        return Preprocessing(fit, tuple(mean), tuple(std))


def _pretrained(name: str, config: Any, automatic: Any = None) -> nn.Module:
    automatic = automatic or _transformers().AutoModelForImageClassification
    with _told(name):
        network: nn.Module
        network, report = automatic.from_pretrained(
            name, config=config, trust_remote_code=False, weights_only=True, output_loading_info=True
        )
    absent = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if absent:
        raise ModelError(f"Expected a trained classifier in hf:{name}, but it has no {absent[0]}; name one that has")
    return network


def _fresh(name: str, config: Any, class_count: int | None = None) -> nn.Module:
    """The network of a configuration with weights drawn anew, perhaps for another number of classes."""
    if class_count is not None:
        config = type(config).from_dict(config.to_dict() | {"id2label": dict(enumerate(map(str, range(class_count))))})
    with _told(name):
        network: nn.Module = _transformers().AutoModelForImageClassification.from_config(config)
    return network


def _processed(name: str, spec: ModelSpec) -> Processed:
    if spec.mode and spec.size and spec.mean and spec.std:
        return Processed(IMAGENET_PREPROCESSING, False)
    with _told(name):
        processor = _transformers().AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    return read_processor(processor, name)


def _labels(config: Any) -> tuple[str, ...] | None:
    """The labels in the order of the outputs; None for those that transformers gives where there are none."""
    labels = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    return None if labels == tuple(f"LABEL_{index}" for index in range(len(labels))) else labels


def _activation(config: Any) -> str:
    return "sigmoid" if config.problem_type == "multi_label_classification" else "softmax"


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        extra = "pip install 'camaudit[huggingface]'"
        raise ModelError(f"transformers is not installed; install it with: {extra}") from None
    return transformers


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What transformers and the hub refuse, in one line; they print nothing themselves meanwhile."""
    chatter = _transformers().utils.logging
    verbosity, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # of the network, of the hub, of files, of configurations: they have no common ancestor
        where = "the folder" if os.path.isdir(name) else "the hub, or a folder here"
        raise ModelError(f"Cannot load hf:{name} from {where}: {first_line(error)}") from None
    finally:
        chatter.set_verbosity(verbosity)
        if bars:
            chatter.enable_progress_bar()
