"""A model as it is named on the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelSpec:
    """A model as named on the command line, small enough to send to every worker.

    Attributes:
        model: `torchvision:NAME`, `timm:NAME`, `hf:NAME`, `clip:NAME`, `PATH.pt`, `module:function` or
            `PATH.py:function`.
        weights: the name of weights (torchvision, clip), `pretrained` (timm, hf), a state-dict file, or `random:SEED`.
        arch: the architecture of a bare state dict `PATH.pt`, as one of the other forms of `model`; also allows a
            checkpoint to be built by the function that it names.
        layer: dotted name of the target layer; found by running the model if None.
        mapping: file that maps the data set's classes to the model's; see `audit.datasets.classes.map_classes`.
        size, mode, resize, mean, std: preprocessing, where it is to differ from the weights' own.
        activation: `softmax`, `sigmoid`, or `none`; see `audit.models.classifier.ACTIVATIONS`.
        classes: names of the model's outputs, in their order, where it has none or others are meant; the words that
            `clip:NAME` is asked for.
        prompts: sentences with `{}` in the place of a word, for `clip:NAME`; several are averaged.
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
    prompts: tuple[str, ...] | None = None
