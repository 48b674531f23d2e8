"""Whether a run's methods explain its model: their maps must change while the network's layers are randomised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from audit.attribution import Method, make_method
from audit.attribution.asked import explain_asked, surest
from audit.attribution.sanity import randomise_from_top, rank_correlation, structural_similarity
from audit.datasets import Readable, Unreadable, decode_sample
from audit.errors import ModelError, RunError
from audit.models import Classifier
from audit.models.aimed.kind import Asked
from audit.models.aimed.words import WordClassifier
from audit.models.device import HALVING, choose_device, move
from audit.progress import Advanced, Progress, silent, stretch
from audit.store import Run, layout
from audit.store.storage.files import write_atomically, write_json
from audit.store.storage.objects import Location, Place, location
from pipelines.asked import SanityCheck
from pipelines.experiments.model import model_of_run

ALIKE = 0.5
"""Mean rank correlation from which maps count as hardly changed, once the upper half of the stages is randomised."""

Maps = NDArray[np.floating]


def check_sanity(path: Place, check: SanityCheck, progress: Progress = silent) -> dict[str, Any]:
    """Randomise the run's model stage by stage, compare maps, and write `report/sanity.json` and `sanity.png`.

    The network runs in float32, whatever the run's precision.

    Raises:
        RunError: no image of the run can be read.
        ModelError: the model cannot be loaded again; a method does not work on it.
    """
    run = Run.open(path)
    methods = {name: _options(run, name) for name in check.methods or (run.record["config"]["method"],)}
    classifier = model_of_run(run, check.model)
    move(classifier.module, choose_device(check.device))
    images, texts = _images(run, classifier, check.samples)
    names, comparisons = _compare(classifier, images, texts, methods, check, progress)
    record = {
        "samples": len(images),
        "seed": check.seed,
        "randomised_down_to": names,
        "rule": f"maps hardly change: mean rank correlation of {ALIKE} or more after half of the stages",
        "methods": {name: _curve(*comparisons[name]) for name in methods},
    }
    write_json(run.path / layout.REPORT / layout.SANITY, record)
    figure = draw(record)
    write_atomically(picture_of(path), lambda partial: figure.savefig(partial, format="png", dpi=120))
    return record


def picture_of(path: Place) -> Location:
    """Where the curves of the run at `path` are drawn."""
    return location(path) / layout.REPORT / "sanity.png"


def verdict_line(curve: Mapping[str, Any]) -> str:
    """What a method's curve says, in words."""
    numbers = f"rank correlation {curve['half']:.2f} with the upper half of the network randomised"
    if curve["passes"]:
        return (
            f"passes: its maps change with the network ({numbers}, {curve['rank_correlation'][-1]:.2f} with all of it)"
        )
    return f"hardly changes though the network was randomised ({numbers}): it does not explain this model"


def draw(record: Mapping[str, Any]) -> Figure:
    """The methods' rank correlations by stage, each with two standard errors of the mean."""
    figure = Figure(figsize=(9.5, 4.5), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(record["randomised_down_to"]) + 1)
    for name, curve in record["methods"].items():
        mean = np.array([1.0, *curve["rank_correlation"]])
        error = 2 * np.array([0.0, *curve["standard_error"]])
        (line,) = axes.plot(places, mean, marker="o", markersize=4, label=f"{name}: {_word(curve)}")
        axes.fill_between(places, mean - error, mean + error, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.plot(
        (_half(places[1:]) + 1,) * 2, (ALIKE, 1), color="grey", linewidth=4, alpha=0.4, label="here: hardly changes"
    )
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set_xticks(places, ["nothing", *record["randomised_down_to"]], rotation=35, ha="right", fontsize=8)
    axes.set_xlabel("randomised from the output down to")
    axes.set_ylabel("rank correlation with the original's maps")
    axes.set_ylim(min(-0.1, axes.get_ylim()[0]), 1.05)
    figure.legend(fontsize=8, loc="outside right upper")
    return figure


def _options(run: Run, method: str) -> dict[str, Any]:
    """The run's options for its own method, none for another."""
    config = run.record["config"]
    return dict(config["options"]) if method == config["method"] else {}


def _images(run: Run, classifier: Classifier, count: int) -> tuple[Tensor, list[str] | None]:
    """Inputs [n, 3, H, W] of samples taken evenly over the run; unreadable ones are left out.

    And the texts [n] of a network that reads them.
    """
    rows = np.unique(np.linspace(0, run.samples - 1, count).round().astype(int)).tolist()
    decoded = (_decoded(run, row, classifier) for row in rows)
    read = [image for image in decoded if isinstance(image, Readable)]
    if not read:
        raise RunError(f"Expected readable images in {run.path}, found none among {len(rows)}; check the manifest")
    images = classifier.preprocessing.normalise(np.stack([image.pixels for image in read])).to(classifier.device)
    reads = isinstance(classifier, WordClassifier)
    return images, [image.sample.attributes.get("text") or "" for image in read] if reads else None


def _decoded(run: Run, row: int, classifier: Classifier) -> Readable | Unreadable:
    sample = next(iter(run.manifest(row, row + 1)))
    return decode_sample(row, sample, classifier.preprocessing.fit, run.record["config"]["max_pixels"])


def _compare(
    classifier: Classifier,
    images: Tensor,
    texts: Sequence[str] | None,
    methods: Mapping[str, Mapping[str, Any]],
    check: SanityCheck,
    progress: Progress,
) -> tuple[list[str], dict[str, tuple[list[Maps], list[Maps]]]]:
    """Names of the stages, and for each method its rank correlations and SSIM, [n] a stage."""
    pairs = [(place, about) for place, about in enumerate(surest(classifier, images, texts=texts)) if about is not None]
    if not pairs:
        raise RunError("Expected targets in the images drawn, but the network gives none; draw more with --sample")
    images, asked = images[[place for place, _ in pairs]], [about for _, about in pairs]
    names: list[str] = []
    comparisons: dict[str, tuple[list[Maps], list[Maps]]] = {name: ([], []) for name in methods}
    original = {name: _maps(classifier, name, options, images, asked, check) for name, options in methods.items()}
    with stretch(progress, "randomising", check.stages):
        for stage, module in _stages(classifier, check):
            names.append(stage)
            changed = replace(classifier, module=module)
            for name, options in methods.items():
                maps = _maps(changed, name, options, images, asked, check)
                for values, measure in zip(comparisons[name], (rank_correlation, structural_similarity), strict=True):
                    values.append(measure(original[name], maps))
            progress(Advanced())
    return names, comparisons


def _stages(classifier: Classifier, check: SanityCheck) -> Iterator[tuple[str, torch.nn.Module]]:
    return randomise_from_top(classifier.module, classifier.example(), check.stages, check.seed)


def _maps(
    classifier: Classifier,
    name: str,
    options: Mapping[str, Any],
    images: Tensor,
    asked: Sequence[Asked],
    check: SanityCheck,
) -> Maps:
    """Raw maps [n, h, w] of one target an image."""
    try:
        method = make_method(name, classifier, options=options)
    except ValueError as error:  # an option's value
        raise ModelError(str(error)) from None
    batches = (slice(place, place + check.batch_size) for place in range(0, len(images), check.batch_size))
    maps: list[Maps] = []
    with method as explain:
        for batch in batches:
            maps += HALVING(partial(_of_batch, explain, images[batch], asked[batch]), len(images[batch]))
    return np.concatenate(maps)


def _of_batch(explain: Method, images: Tensor, asked: Sequence[Asked], places: slice) -> Maps:
    return np.asarray(explain_asked(explain, images[places], asked[places])[:, 0].cpu().numpy())


def _curve(correlations: Sequence[Maps], similarities: Sequence[Maps]) -> dict[str, Any]:
    """A method's similarities [n] a stage as means, and what they say."""
    means = [_mean(values) for values in correlations]
    half = means[_half(means)]
    return {
        "rank_correlation": means,
        "standard_error": [_standard_error(values) for values in correlations],
        "ssim": [None if np.isnan(values).all() else _mean(values) for values in similarities],
        "half": half,
        "passes": half < ALIKE,
    }


def _mean(values: Maps) -> float:
    if np.isnan(values).all():
        raise RunError("Expected maps of finite numbers to compare, got none; check the model's outputs")
    return float(np.nanmean(values))


def _standard_error(values: Maps) -> float:
    return float(np.nanstd(values) / np.sqrt(np.isfinite(values).sum()))


def _half(stages: Sized) -> int:
    """The stage at which the upper half of them is randomised."""
    return (len(stages) + 1) // 2 - 1


def _word(curve: Mapping[str, Any]) -> str:
    return "passes" if curve["passes"] else "hardly changes"
