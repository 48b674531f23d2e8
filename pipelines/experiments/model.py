"""The model of a finished run, loaded again from what the run recorded about it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from audit.errors import ModelError
from audit.models import Classifier, ModelSpec, load_classifier, weights_fingerprint
from audit.models.sources import KNOWN_CODE, STATE_SUFFIXES
from audit.store import Run


def model_of_run(run: Run, model: str | None = None) -> Classifier:
    """Load the classifier that a run was made with, at the layer that the run explained.

    Args:
        model: the model named again by the user, as `camaudit run --model` takes it. Needed where the run's model is
            code, `module:function` or `FILE.py:function`: code that only a store names is never run. Another name
            takes the place of the recorded one, for a file that has moved.

    Raises:
        ModelError: the model is code that was not named again, cannot be loaded, or is not the run's.
    """
    spec = _named_again(_recorded_spec(run.record), model, run.path)
    recorded = run.record["model"]
    classifier = load_classifier(replace(spec, layer=recorded["layer"]), classes=run.classes)
    fingerprint = weights_fingerprint(classifier.module)
    if fingerprint != recorded["fingerprint"]:
        raise ModelError(
            f"Expected the weights that {run.path} was made with ({recorded['fingerprint']}), got {fingerprint} from "
            f"{spec.model}; name the same model with --model"
        )
    outputs = [list(outputs) for outputs in classifier.mapping.outputs]
    if outputs != recorded["outputs"]:
        raise ModelError(f"Expected the classes of {run.path} to map to the same outputs; {spec.mapping} has changed")
    return classifier


def _recorded_spec(record: Mapping[str, Any]) -> ModelSpec:
    """`source` of run.json; JSON made lists of its tuples."""
    source: dict[str, Any] = record["source"]
    lists = {name: tuple(value) for name, value in source.items() if isinstance(value, list)}
    return ModelSpec(**{**source, **lists})


def _named_again(spec: ModelSpec, model: str | None, path: Path) -> ModelSpec:
    """The spec with the user's name for the model, if all code that it runs was named by the user."""
    named = _absolute(model) if model else None
    if named and named not in (spec.model, spec.arch):
        spec = replace(spec, model=named)
    weights_only = Path(spec.model).suffix in STATE_SUFFIXES
    for name in (None if weights_only else spec.model, spec.arch):
        if name and _is_code(name) and name != named:
            raise ModelError(f"{path} was made with code, {name!r}; if you trust it, allow it with --model {name}")
    return spec


def _is_code(name: str) -> bool:
    """Whether a model's name is one of a function, other than those of the libraries and of camaudit itself."""
    place, colon, _ = name.rpartition(":")
    return bool(colon) and place not in KNOWN_CODE


def _absolute(name: str) -> str:
    """A model's name as a run records it: files by absolute paths."""
    place, colon, function = name.partition(".py:")
    if colon:
        return f"{os.path.abspath(place)}.py:{function}"
    return os.path.abspath(name) if Path(name).is_file() else name
