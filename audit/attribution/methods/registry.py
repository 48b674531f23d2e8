"""All methods by name, and how a name with options becomes one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from audit.attribution.method import Method
from audit.attribution.methods.aligned import Aligned
from audit.attribution.methods.around import Flip, MultiScale, SmoothGrad
from audit.attribution.methods.attnlrp import AttnLRP
from audit.attribution.methods.backprop import Deconvnet, GuidedBackprop, IntegratedGradients, Saliency
from audit.attribution.methods.compositions import GuidedGradCAM, LayerCAMFused
from audit.attribution.methods.gradient_free import AblationCAM, ScoreCAM
from audit.attribution.methods.legrad import LeGrad
from audit.attribution.methods.lrp import LRP
from audit.attribution.methods.perturbation import RISE, Occlusion
from audit.attribution.methods.rollout import GradientRollout
from audit.attribution.methods.weighted import (
    CAM,
    Counterfactual,
    EigenCAM,
    EigenGradCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    XGradCAM,
)
from audit.attribution.taps import probing
from audit.errors import ModelError
from audit.models.aimed.kind import Aimed
from audit.models.classifier import Classifier
from audit.models.execution import PLAIN, Execution
from audit.models.weights import first_line

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        GradCAM,
        CAM,
        GradCAMPlusPlus,
        XGradCAM,
        HiResCAM,
        LayerCAM,
        EigenCAM,
        EigenGradCAM,
        Counterfactual,
        Saliency,
        Deconvnet,
        GuidedBackprop,
        IntegratedGradients,
        GuidedGradCAM,
        LayerCAMFused,
        ScoreCAM,
        AblationCAM,
        Occlusion,
        RISE,
        LeGrad,
        GradientRollout,
        AttnLRP,
        LRP,
    )
}
"""Methods by the name that `camaudit run --method` takes."""

AROUND: dict[str, type[Method]] = {method.name: method for method in (SmoothGrad, MultiScale, Flip, Aligned)}
"""Methods around another one, by name: `NAME:OTHER`."""


def check_method(name: str, options: Mapping[str, Any] | None = None) -> None:
    """Check a method's name, as `gradcam` or `smoothgrad:gradcam`, and its options.

    Raises:
        ValueError: it is unknown, or an option is.
    """
    taken = {option: default for part in _parts(name) for option, default in _options_of(part).items()}
    for option, value in (options or {}).items():
        if option not in taken:
            known = f"takes {', '.join(sorted(taken))}" if taken else "takes none"
            raise ValueError(f"Expected an option of {name}, got {option!r}; it {known}")
        _check_kind(option, value, taken[option])


def make_method(
    name: str, classifier: Classifier, execution: Execution = PLAIN, options: Mapping[str, Any] | None = None
) -> Method:
    """The method of this name for a classifier.

    Args:
        name: of `METHODS`, or with names of `AROUND` before it, as `smoothgrad:gradcam`.
        options: keyword arguments of the methods named; those that several take go to all of them.

    Raises:
        ValueError: the name or an option is unknown, or an option cannot have its value.
        ModelError: the method does not work on this classifier.
    """
    check_method(name, options)
    *around, inmost = _parts(name)
    moving = next((part.name for part in around if part.moves), None)
    if moving is not None and isinstance(classifier, Aimed):
        raise ModelError(f"Expected a method that leaves an image in its place for {classifier.kind}, got {moving}")
    made: Method = inmost(classifier, execution, **_chosen(inmost, options))
    for outer in reversed(around):
        made = outer(made, **_chosen(outer, options))  # type: ignore[arg-type]
    if classifier.preprocessing.fit.mode == "native":
        _check_any_shape(name, made)
    return made


def _check_any_shape(name: str, made: Method) -> None:
    """Refuse a method, or a network, that takes square inputs only; what a network is aimed at is of one shape."""
    if not made.any_shape or isinstance(made.classifier, Aimed):
        raise ModelError(f"--method {name} takes square inputs of this network only; choose --fit letterbox")
    wide = made.classifier.example()[:, :, : made.classifier.preprocessing.fit.given(1, 2)[0]]
    with probing(made.classifier.module), torch.inference_mode():
        try:
            made.classifier.module(wide)
        except Exception as error:  # networks' own errors have no common ancestor
            height, width = wide.shape[2:]
            raise ModelError(
                f"Expected a network for inputs of any shape for --fit native, but one of {width} x {height} px fails "
                f"({first_line(error)}); choose --fit letterbox"
            ) from None


def _parts(name: str) -> list[type[Method]]:
    *around, inmost = name.split(":")
    unknown = [part for part in around if part not in AROUND] + ([inmost] if inmost not in METHODS else [])
    if unknown:
        before = f", or one of these before it and a colon: {', '.join(AROUND)}" if AROUND else ""
        raise ValueError(f"Expected --method to be one of {', '.join(METHODS)}{before}; got {name!r}")
    return [*(AROUND[part] for part in around), METHODS[inmost]]


def _options_of(method: type[Method]) -> dict[str, Any]:
    """Options by name, with their defaults."""
    parameters = inspect.signature(method.__init__).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def _check_kind(option: str, value: Any, default: Any) -> None:
    """Refuse what is no number where the default is one."""
    whole = isinstance(default, int)
    right = isinstance(value, int) or (isinstance(value, float) and not whole)
    if isinstance(default, int | float) and not (right and abs(value) < _LARGEST):
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"Expected the option {option} to be {kind}, as {default:.3g}; got {value!r}")


_LARGEST = 2**63


def _chosen(method: type[Method], options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (options or {}).items() if name in _options_of(method)}
