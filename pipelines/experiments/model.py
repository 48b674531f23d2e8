"""The model of a finished run, loaded again from what the run recorded about it."""

from __future__ import annotations

from dataclasses import replace

from audit.errors import ModelError
from audit.models import Classifier, ModelSpec, load_classifier, weights_fingerprint
from audit.store import Run
from pipelines.experiments.source import source_of_run


def model_of_run(run: Run, model: str | None = None) -> Classifier:
    """Load the classifier that a run was made with, at the layer that the run explained.

    Args:
        model: the model named again by the user, as `camaudit run --model` takes it. Needed where the run's model is
            code, `module:function` or `FILE.py:function`: code that only a store names is never run. Another name
            takes the place of the recorded one, for a file that has moved.

    Raises:
        ModelError: the model is code that was not named again, cannot be loaded, or is not the run's.
    """
    spec = ModelSpec(**source_of_run(run, model))
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
