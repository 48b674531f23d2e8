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
from numpy.typing import NDArray

from audit.attribution.taps import probing
from audit.concepts.kept import About, Concept, hex_maps
from audit.concepts.patches import Target
from audit.concepts.ways.registry import WAYS
from audit.concepts.ways.way import DRAWS, Factors, Held, Way, nearest_cosine
from audit.errors import ImageError, RunError
from audit.findings.channels import strongest
from audit.models import Classifier
from audit.models.aimed.kind import refuse_aimed
from audit.progress import Progress, silent, tracked
from audit.scores.placed import Placed
from audit.store import Run
from pipelines.asked import ConceptSearch
from pipelines.experiments.backgrounds import known_objects
from pipelines.experiments.in_layer import activation_of, class_weights, logits_without
from pipelines.experiments.inputs import Input, read_input

HOTTEST = 12
"""Cells of an image that concepts are made from, those with most heat."""
_MOST_NUMBERS = 2**28
"""Of activations that are held."""
_BATCH = 16


@dataclass(frozen=True)
class FoundConcept:
    """A concept of a class or claim.

    Attributes:
        direction: [D] in the layer as its way prepares it, at unit length.
        worth: mean fall of the class's logit without it.
        cosine: with the nearest concept of each other draw of the images, [DRAWS]; empty with too few images.
        targets: sample, slot and cell of the images that hold most of it where heat is; of none that holds nothing.
        maps: [m, h, w] how much of it is where in those images, 1 at the most.
    """

    direction: NDArray[np.float64]
    worth: float
    cosine: Sequence[float]
    targets: Sequence[Target]
    maps: NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """The concepts, the most worth first.

    Attributes:
        way: that they were found by.
        images: that were read.
        logit: mean logit of the class in those that concepts were removed from.
        error: share of the square of what was factorised that no concept accounts for.
    """

    way: str
    concepts: Sequence[FoundConcept]
    images: int
    logit: float
    error: float

    def records(self, about: About) -> list[Concept]:
        """As a run keeps them."""
        return [
            Concept(
                claim_id=about.claim_id,
                class_name=about.class_name,
                way=self.way,
                place=place,
                worth=concept.worth,
                logit=self.logit,
                cosine=min(concept.cosine, default=None),
                images=self.images,
                error=self.error,
                patches={"targets": [list(row) for row in concept.targets], "maps": hex_maps(concept.maps)},
                words={},
            )
            for place, concept in enumerate(self.concepts, 1)
        ]


@dataclass(frozen=True)
class _Seen:
    """What the layer holds of some targets: samples, slots, class ids and units [n], activations and heat.

    Attributes:
        activation: [n, h, w, D], as the way prepares it.
        channels: of the layer.
        heat: [n, h, w] of the part that is asked about.
        images: [n] inputs.
    """

    table: pd.DataFrame
    activation: NDArray[np.floating]
    channels: int
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
        RunError: too few of the images can be read, they do not differ, or the layer's grid is not the maps'.
    """
    refuse_aimed(classifier)
    way = WAYS[asked.way]
    with probing(classifier.module):
        seen = _see(run, classifier, way, _drawn(targets, asked), off, progress)
        held = _under_heat(seen, _weights(classifier, seen, asked.removals) if way.weighted else None)
        factors, others = _factorised(way, held, asked, progress)
        flat = seen.activation.reshape(-1, seen.activation.shape[-1])
        amounts = factors.amounts(flat).reshape(*seen.heat.shape, -1)
        worth, logit = _worth(classifier, seen, way, factors, amounts[: asked.removals], progress)
    order = np.argsort(-worth, kind="stable").tolist()
    found = [_concept(seen, amounts[..., k], factors.directions[k], float(worth[k]), others) for k in order]
    return Found(way.name, found, len(seen.table), logit, factors.error)


def _factorised(way: Way, held: Held, asked: ConceptSearch, progress: Progress) -> tuple[Factors, list[Factors]]:
    """The concepts, and those of other draws of the images; of none where these are too few."""
    count = min(asked.count, way.most(held))
    if count < 1:
        other = next(name for name in WAYS if name != way.name)
        raise RunError(
            f"Expected images that differ in what the class goes by, found none by {way.name}; take --way {other}"
        )
    factors = way.factorise(held, count, asked.seed)
    seeds = tracked(progress, "factorising", range(asked.seed + 1, asked.seed + 1 + DRAWS), DRAWS)
    return factors, way.again(held, count, seeds)


def _drawn(targets: pd.DataFrame, asked: ConceptSearch) -> pd.DataFrame:
    """One target a unit, in random order, as many as are read."""
    mixed = targets.sample(frac=1, random_state=asked.seed)
    return mixed.drop_duplicates("unit").head(asked.images)


def _see(run: Run, classifier: Classifier, way: Way, targets: pd.DataFrame, off: bool, progress: Progress) -> _Seen:
    kept, activations, heats, images = [], [], [], []
    numbers = 0
    readable = tracked(progress, "looking", _readable(run, classifier, targets), len(targets))
    while batch := list(islice(readable, _BATCH)):
        held = activation_of(classifier, np.stack([entry.image for _, entry in batch]))
        if held.shape[1:3] != tuple(run.record["grid"]):
            raise RunError(f"Expected maps of {run.path} at the layer's {held.shape[1:3]}, got {run.record['grid']}")
        for (row, entry), activation in zip(batch, held, strict=True):
            kept.append(row)
            activations.append(activation)
            heats.append(_heat(run, row, entry, off))
            images.append(entry.image)
        numbers += held.size
        if numbers > _MOST_NUMBERS:
            break
    if not kept:
        raise RunError(f"None of the images drawn from {run.path} can be read as it was")
    held = np.stack(activations)
    return _Seen(pd.DataFrame(kept), way.prepared(held), held.shape[-1], np.stack(heats), images)


def _readable(run: Run, classifier: Classifier, targets: pd.DataFrame) -> Iterator[tuple[dict[str, Any], Input]]:
    for row in targets.to_dict("records"):
        try:
            yield {str(k): v for k, v in row.items()}, read_input(run, classifier, row["sample"], row["digest"])
        except ImageError:
            continue


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


def _under_heat(seen: _Seen, weights: NDArray[np.float64] | None) -> Held:
    """What the layer holds at the hottest cells of each image."""
    flat = seen.heat.reshape(len(seen.heat), -1)
    most = min(HOTTEST, flat.shape[1])
    cells = np.argpartition(flat, -most, axis=1)[:, -most:]
    image = np.repeat(np.arange(len(flat)), most)
    warm = flat[image, cells.ravel()] > 0
    if not warm.any():
        raise RunError("Expected images with heat to find concepts in, found none")
    held = seen.activation.reshape(len(flat), -1, seen.activation.shape[-1])
    return Held(held[image, cells.ravel()][warm], image[warm], weights)


def _weights(classifier: Classifier, seen: _Seen, most: int) -> NDArray[np.float64]:
    """The class's weights [C], the mean over the first images: of a claim about all classes, of theirs."""
    class_ids, parts = seen.table["class_id"].tolist()[:most], []
    for start in range(0, len(class_ids), _BATCH):
        images = np.stack(seen.images[start : min(start + _BATCH, len(class_ids))])
        parts.append(class_weights(classifier, images, class_ids[start : start + _BATCH]))
    return np.asarray(np.concatenate(parts).mean(axis=0))


def _worth(
    classifier: Classifier,
    seen: _Seen,
    way: Way,
    factors: Factors,
    amounts: NDArray[np.float64],
    progress: Progress,
) -> tuple[NDArray[np.float64], float]:
    """Mean fall of the class's logit without each concept [K] where the heat lies, and the mean logit with all.

    Args:
        amounts: [m, h, w, K] of the first images.
    """
    falls, logits = [], []
    for place in tracked(progress, "removing", range(len(amounts)), len(amounts)):
        here = amounts[place] * (seen.heat[place] > 0)[..., None]
        parts = np.moveaxis(here, -1, 0)[..., None] * factors.directions[:, None, None]  # [K, h, w, D]
        class_id = int(seen.table["class_id"].iloc[place])
        answers = logits_without(classifier, seen.images[place], way.restored(parts, seen.channels), class_id)
        logits.append(answers[0])
        falls.append(answers[0] - answers[1:])
    return np.mean(falls, axis=0), float(np.mean(logits))


def _concept(
    seen: _Seen, amounts: NDArray[np.float64], direction: NDArray[np.float64], worth: float, others: Sequence[Factors]
) -> FoundConcept:
    """A concept by how much of it is where, amounts [n, h, w]; it is shown where it and the heat are strong together.

    By its amount alone it would often be shown from beside: cells around a mark see it too, at their fields' edge.
    """
    under = (amounts * seen.heat).reshape(len(amounts), -1)
    sample, slot, unit = (seen.table[name].to_numpy() for name in ("sample", "slot", "unit"))
    hold = under.max(axis=1) > 0
    patches = strongest(sample[hold], slot[hold], under.argmax(axis=1)[hold], under.max(axis=1)[hold], unit[hold])
    where = {int(row): place for place, row in enumerate(sample)}
    maps = amounts[[where[sample] for sample, _, _ in patches]] / max(float(amounts.max()), 1e-30)
    cosine = [nearest_cosine(direction, other.directions) for other in others]
    return FoundConcept(direction, worth, cosine, patches, maps.astype(np.float32))
