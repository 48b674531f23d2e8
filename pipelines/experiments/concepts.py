"""Concepts of a class or a claim: its images are read again, and what the layer holds under their heat is factorised.

Concepts are ranked by removal: what a concept adds to the layer is taken out, and the network goes on from there. How
far the class's logit falls is what the concept is worth to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from audit.attribution.taps import probing, tapped
from audit.concepts.channels import write_sheet
from audit.concepts.factors import SEEDS, Factors, factorise, joined_signs, nearest_cosine, part_of_images, split_signs
from audit.concepts.patches import PatchReader
from audit.concepts.sheets import Strip
from audit.datasets.reach import Reach
from audit.errors import ImageError, ModelError, RunError
from audit.findings.channels import strongest
from audit.models import Classifier
from audit.models.aimed.kind import refuse_aimed
from audit.models.layers import Layout
from audit.progress import Progress, silent, tracked
from audit.scores.placed import Placed
from audit.store import Run
from pipelines.asked import ConceptSearch
from pipelines.experiments.backgrounds import known_objects
from pipelines.experiments.inputs import Input, read_input

HOTTEST = 12
"""Cells of an image that concepts are made from, those with most heat."""
_MOST_NUMBERS = 2**28
"""Of activations that are held."""


@dataclass(frozen=True)
class Concept:
    """A concept of a class or claim.

    Attributes:
        direction: [D] in the layer, at unit length; of D = 2 channels the second half is below 0.
        worth: mean fall of the class's logit without it.
        cosine: with the nearest concept of each other draw of the images, [SEEDS].
        patches: sample, slot and cell of the images that hold most of it, where heat is.
        maps: [m, h, w] how much of it is where in those images, 1 at the most.
    """

    direction: NDArray[np.float64]
    worth: float
    cosine: Sequence[float]
    patches: Sequence[tuple[int, int, int]]
    maps: NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """The concepts, the most worth first.

    Attributes:
        images: that were read.
        logit: mean logit of the class in those that concepts were removed from.
        error: share of the activations' square under the heat that no concept accounts for.
    """

    concepts: Sequence[Concept]
    images: int
    logit: float
    error: float


@dataclass(frozen=True)
class _Seen:
    """What the layer holds of some targets: samples, slots, class ids and units [n], activations and heat.

    Attributes:
        activation: [n, h, w, D], `split_signs` of the layer's.
        heat: [n, h, w] of the part that is asked about.
        images: [n] inputs.
    """

    table: pd.DataFrame
    activation: NDArray[np.float32]
    heat: NDArray[np.float32]
    images: Sequence[NDArray[np.float32]]


def find_concepts(
    run: Run,
    classifier: Classifier,
    targets: pd.DataFrame,
    asked: ConceptSearch,
    off: bool = False,
    progress: Progress = silent,
) -> Found:
    """Factorise what the layer holds under the heat of some targets.

    Args:
        classifier: that the run was made with.
        targets: `sample`, `slot`, `class_id`, `digest` and `unit`; at most `asked.images` units of them are read.
        off: whether heat off the object counts alone.

    Raises:
        RunError: too few of the images can be read, or the layer's grid is not the maps'.
    """
    refuse_aimed(classifier)
    with probing(classifier.module):
        seen = _see(run, classifier, _drawn(targets, asked), off, progress)
        rows, image = _under_heat(seen)
        count = min(asked.count, *rows.shape)
        factors = factorise(rows, count, asked.seed)
        others = [
            factorise(rows[part], count, seed)
            for seed in tracked(progress, "factorising", range(asked.seed + 1, asked.seed + 1 + SEEDS), SEEDS)
            if (part := part_of_images(image, seed)).sum() >= count
        ]
        flat = seen.activation.reshape(-1, seen.activation.shape[-1])
        amounts = factors.amounts(flat).reshape(*seen.heat.shape, count)
        worth, logit = _worth(classifier, seen, factors, amounts[: asked.removals], progress)
    order = np.argsort(-worth, kind="stable").tolist()
    found = [_concept(seen, amounts[..., k], factors.directions[k], float(worth[k]), others) for k in order]
    return Found(found, len(seen.table), logit, factors.error)


def _drawn(targets: pd.DataFrame, asked: ConceptSearch) -> pd.DataFrame:
    """One target a unit, in random order, as many as are read."""
    mixed = targets.sample(frac=1, random_state=asked.seed)
    return mixed.drop_duplicates("unit").head(asked.images)


def _see(run: Run, classifier: Classifier, targets: pd.DataFrame, off: bool, progress: Progress) -> _Seen:
    kept, activations, heats, images = [], [], [], []
    numbers = 0
    readable = tracked(progress, "looking", _readable(run, classifier, targets), len(targets))
    while batch := list(islice(readable, 16)):
        inputs = np.stack([entry.image for _, entry in batch])
        held = _activation(classifier, torch.from_numpy(inputs))
        if held.shape[1:3] != tuple(run.record["grid"]):
            raise RunError(f"Expected maps of {run.path} at the layer's {held.shape[1:3]}, got {run.record['grid']}")
        for (row, entry), activation in zip(batch, held, strict=True):
            kept.append(row)
            activations.append(split_signs(activation))
            heats.append(_heat(run, row, entry, off))
            images.append(entry.image)
        numbers += held.size
        if numbers > _MOST_NUMBERS:
            break
    if not kept:
        raise RunError(f"None of the images drawn from {run.path} can be read as it was")
    widest = max(activation.shape[-1] for activation in activations)
    padded = [np.pad(a, ((0, 0), (0, 0), (0, widest - a.shape[-1]))) for a in activations]
    return _Seen(pd.DataFrame(kept), np.stack(padded), np.stack(heats), images)


def _readable(run: Run, classifier: Classifier, targets: pd.DataFrame) -> Iterator[tuple[dict[str, Any], Input]]:
    for row in targets.to_dict("records"):
        try:
            yield {str(k): v for k, v in row.items()}, read_input(run, classifier, row["sample"], row["digest"])
        except ImageError:
            continue


def _activation(classifier: Classifier, images: Tensor) -> NDArray[np.float32]:
    """[B, h, w, C] of the target layer."""
    kept: list[Tensor] = []
    with torch.inference_mode(), tapped(classifier.target_layer, lambda output: kept.append(output.clone())):
        classifier.module(images.to(classifier.device, memory_format=torch.channels_last))
    layout = _layout(classifier, kept[-1])
    held: NDArray[np.float32] = layout.to_grid(kept[-1]).permute(0, 2, 3, 1).float().cpu().numpy()
    return held


def _layout(classifier: Classifier, output: Tensor) -> Layout:
    layout = Layout.of(output.shape)
    if layout is None:
        raise ModelError(f"Expected the layer {classifier.layer!r} to have a grid, got {list(output.shape)}")
    return layout


def _heat(run: Run, row: dict[str, Any], entry: Input, off: bool) -> NDArray[np.float32]:
    """Heat [h, w] of a target that counts, by what is off its object where that is asked."""
    sample, slot = row["sample"], row["slot"]
    heat = np.nan_to_num(run.maps(sample, sample + 1)[0, slot].astype(np.float32))[None]
    mask = known_objects(run, entry).mask if off else None
    placed = Placed.of(heat, entry.view, mask, np.array([row["class_id"]]), entry.size)
    grid = (heat.shape[1], heat.shape[2])
    part = placed.off_and_warm(grid) if off else placed.warm(grid)
    counted: NDArray[np.float32] = np.maximum(heat * part, 0)[0]
    return counted


def _under_heat(seen: _Seen) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Activations [m, D] of the hottest cells of each image, and which image each is of."""
    flat = seen.heat.reshape(len(seen.heat), -1)
    most = min(HOTTEST, flat.shape[1])
    cells = np.argpartition(flat, -most, axis=1)[:, -most:]
    image = np.repeat(np.arange(len(flat)), most)
    warm = flat[image, cells.ravel()] > 0
    if not warm.any():
        raise RunError("Expected images with heat to find concepts in, found none")
    held = seen.activation.reshape(len(flat), -1, seen.activation.shape[-1])
    return held[image, cells.ravel()][warm], image[warm]


def _worth(
    classifier: Classifier, seen: _Seen, factors: Factors, amounts: NDArray[np.float64], progress: Progress
) -> tuple[NDArray[np.float64], float]:
    """Mean fall of the class's logit without each concept [K] where the heat lies, and the mean logit with all.

    Args:
        amounts: [m, h, w, K] of the first images.
    """
    falls, logits = [], []
    for place in tracked(progress, "removing", range(len(amounts)), len(amounts)):
        here = (amounts[place] * (seen.heat[place] > 0)[..., None]).reshape(-1, amounts.shape[-1])
        parts = here.T[:, :, None] * factors.directions[:, None]  # [K, cells, D]
        class_id = int(seen.table["class_id"].iloc[place])
        answers = _logits_without(classifier, seen.images[place], parts, seen.heat.shape[1:], class_id)
        logits.append(answers[0])
        falls.append(answers[0] - answers[1:])
    return np.mean(falls, axis=0), float(np.mean(logits))


def _logits_without(
    classifier: Classifier, image: NDArray[np.float32], parts: NDArray[np.float64], grid: tuple[int, ...], class_id: int
) -> NDArray[np.float64]:
    """The class's logit [1 + K] of an image as it is, and with each of K parts [K, cells, D] taken out of the layer."""
    images = torch.from_numpy(image)[None].expand(1 + len(parts), -1, -1, -1)

    def take_out(output: Tensor) -> Tensor:
        layout, channels = _layout(classifier, output), _channels(output)
        removed = joined_signs(parts, channels).reshape(len(parts), *grid, channels)
        return output - _laid_out(layout, torch.from_numpy(removed).to(output)).to(output)

    with torch.inference_mode(), tapped(classifier.target_layer, take_out):
        outputs = classifier.module(images.to(classifier.device).contiguous(memory_format=torch.channels_last))
        answers: NDArray[np.float64] = classifier.class_logits(outputs)[:, class_id].double().cpu().numpy()
    return answers


def _channels(output: Tensor) -> int:
    layout = Layout.of(output.shape)
    assert layout is not None
    return output.shape[1] if layout.kind == "channels_first" else output.shape[-1]


def _laid_out(layout: Layout, removed: Tensor) -> Tensor:
    """[K, h, w, C] as the layer gives it, with nothing taken out of a first image and of prefix tokens."""
    removed = F.pad(removed, (0, 0, 0, 0, 0, 0, 1, 0))
    if layout.kind == "channels_first":
        return removed.permute(0, 3, 1, 2)
    return removed if layout.kind == "channels_last" else F.pad(removed.flatten(1, 2), (0, 0, layout.prefix, 0))


def _concept(
    seen: _Seen, amounts: NDArray[np.float64], direction: NDArray[np.float64], worth: float, others: Sequence[Factors]
) -> Concept:
    """A concept by how much of it is where, amounts [n, h, w]; it is shown where it and the heat are strong together.

    By its amount alone it would often be shown from beside: cells around a mark see it too, at their fields' edge.
    """
    under = (amounts * seen.heat).reshape(len(amounts), -1)
    sample, slot, unit = (seen.table[name].to_numpy() for name in ("sample", "slot", "unit"))
    patches = strongest(sample, slot, under.argmax(axis=1), under.max(axis=1), unit)
    where = {int(row): place for place, row in enumerate(sample)}
    maps = amounts[[where[sample] for sample, _, _ in patches]] / max(float(amounts.max()), 1e-30)
    cosine = [nearest_cosine(direction, other.directions) for other in others]
    return Concept(direction, worth, cosine, patches, maps.astype(np.float32))


def tell_concepts(run: Run, reach: Reach, name: str, found: Found) -> dict[str, Any]:
    """Draw the sheet of a class's or claim's concepts, and say what there is to tell as plain values."""
    reader, strips = PatchReader(run, reach), []
    for place, concept in enumerate(found.concepts, 1):
        lines = [
            f"without it the logit falls by {concept.worth:.2f}",
            f"of {found.logit:.2f}",
            f"cosine over draws {min(concept.cosine, default=float('nan')):.2f} or more",
        ]
        strips.append(Strip(f"concept {place}", lines, reader.patches(concept.patches)))
        maps = [reader.overlay(target[0], heat) for target, heat in zip(concept.patches, concept.maps, strict=True)]
        strips.append(Strip("", ["where it is"], [pixels for pixels in maps if pixels is not None]))
    sheet = write_sheet(run, f"concepts {name}", strips)
    return {
        "of": name,
        "images": found.images,
        "logit": found.logit,
        "error": found.error,
        "sheet": str(sheet) if sheet else None,
        "concepts": [
            {
                "place": place,
                "worth": concept.worth,
                "cosine": list(concept.cosine),
                "targets": [list(target) for target in concept.patches],
            }
            for place, concept in enumerate(found.concepts, 1)
        ],
    }
