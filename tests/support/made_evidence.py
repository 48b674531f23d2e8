"""Evidence drawn at random, in which no class, group or zone differs from the others; and effects planted in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from audit.findings import Rules
from audit.findings.claims.kind import Material
from audit.findings.evidence.frame import cells_as_bits
from audit.findings.evidence.targets import Evidence

CELLS = 8
SCENES = 512
"""Distinct pairs of a map and an object; targets share them, so that a million take seconds."""


def material(evidence: Evidence, fdr: float = 0.05, least: float | None = None) -> Material:
    """What claims are made from, without features."""
    return Material(evidence, Rules(fdr=fdr), least=least)


def draw_evidence(
    images: int, classes: int = 10, seed: int = 0, per_image: int = 2, groups: tuple[int, ...] = (3, 2)
) -> Evidence:
    """Images with `per_image` targets of different classes that share one map, which owes nothing to the classes.

    Args:
        groups: how many values each attribute has; attributes are named `a0`, `a1`, ...
    """
    rng = np.random.default_rng(seed)
    n = images * per_image
    first = rng.integers(0, classes, images)
    class_id = ((first[:, None] + np.arange(per_image) * (1 + first[:, None] % 2)) % classes).ravel().astype(np.int32)
    sample = np.repeat(np.arange(images), per_image)
    heat, area = _scenes(rng)
    scene = np.repeat(rng.integers(0, SCENES, images), per_image)
    off = np.repeat(rng.random(images) < 0.3, per_image)
    return Evidence(
        classes=tuple(f"class {i}" for i in range(classes)),
        sample=sample,
        slot=np.tile(np.arange(per_image, dtype=np.int16), images),
        class_id=class_id,
        probability=rng.random(n, np.float32),
        named=rng.random(n) < 0.8,
        off=off,
        known=np.ones(n, bool),
        boxed=np.zeros(n, bool),
        severity=rng.random(n, np.float32),
        wrong=np.repeat(rng.random(images) < 0.2, per_image),
        labelled=np.tile(np.arange(per_image) == 0, images),
        unit=sample.copy(),
        off_heat=heat[scene],
        off_area=area[scene],
        clear=clear_of(area)[scene],
        attributes={
            f"a{i}": (
                np.repeat(rng.integers(0, count, images, dtype=np.int32), per_image),
                tuple(f"v{k}" for k in range(count)),
            )
            for i, count in enumerate(groups)
        },
        context=_context(rng, class_id, classes),
    )


def clear_of(area: NDArray[np.floating]) -> NDArray[np.uint64]:
    """Cells that are off the object and touch none that is not, as bits [n], from the areas off it [n, 64]."""
    on = (area < 0.95 / CELLS**2).reshape(-1, CELLS, CELLS)
    return cells_as_bits(~maximum_filter(on, (1, 3, 3)).reshape(len(area), -1))


def _scenes(rng: np.random.Generator) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Blobs of heat, half of them narrow, and boxes somewhere else: what lies off the box, each [SCENES, 64]."""
    y, x = (np.arange(CELLS) + 0.5)[:, None], np.arange(CELLS) + 0.5
    spread = rng.choice([0.8, 2.5], SCENES)[:, None, None]
    at = rng.uniform(0, CELLS, (2, SCENES, 1, 1))
    heat = np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * spread**2)) + 0.02 * rng.random((SCENES, CELLS, CELLS))
    heat /= heat.sum(axis=(1, 2), keepdims=True)
    low = rng.uniform(0, 5, (2, SCENES, 1, 1))
    size = rng.uniform(1.5, 4, (2, SCENES, 1, 1))
    inside = (y > low[0]) & (y < low[0] + size[0]) & (x > low[1]) & (x < low[1] + size[1])
    parts = np.where(inside, 0, heat), np.where(inside, 0, 1 / CELLS**2)
    off_heat, off_area = (part.reshape(SCENES, -1).astype(np.float16) for part in parts)
    return off_heat, off_area


def _context(rng: np.random.Generator, class_id: NDArray[np.int32], classes: int) -> dict[str, NDArray]:
    """Another class in every other target's mask, with heat that owes nothing to either."""
    target = np.flatnonzero(rng.random(len(class_id)) < 0.5)
    other = (class_id[target] + rng.integers(1, min(classes, 5), len(target))) % classes
    heat, area = rng.beta(0.8, 2, len(target)), rng.uniform(0.02, 0.4, len(target))
    return {
        "target": target,
        "class_id": other.astype(np.int32),
        "heat": heat.astype(np.float32),
        "area": area.astype(np.float32),
    }


def plant_heat(evidence: Evidence, rows: NDArray[np.integer], cells: NDArray[np.bool_], share: float = 0.7) -> Evidence:
    """The same with a share of the heat of some targets moved, evenly, into cells [8, 8] off the object."""
    off_heat, off_area = evidence.off_heat.copy(), evidence.off_area.copy()
    off_heat[rows] = (1 - share) * off_heat[rows] + (share * cells.ravel() / cells.sum()).astype(np.float16)
    off_area[np.ix_(rows, np.flatnonzero(cells))] = 1 / CELLS**2
    clear = evidence.clear.copy()
    clear[rows] |= cells_as_bits(cells.reshape(1, -1))
    return replace(evidence, off_heat=off_heat, off_area=off_area, clear=clear)


def plant_context(evidence: Evidence, class_id: int, other: int, rate: float = 0.9, seed: int = 0) -> Evidence:
    """The same with most heat on the other class, at a rate, where it is in the masks of the class's targets."""
    context = evidence.context
    rows = np.flatnonzero((evidence.class_id[context["target"]] == class_id) & (context["class_id"] == other))
    rows = rows[np.random.default_rng(seed).random(len(rows)) < rate]
    heat, off_heat, off = context["heat"].copy(), evidence.off_heat.copy(), evidence.off.copy()
    heat[rows] = 0.8
    target = context["target"][rows]
    off[target] = True
    off_heat[target] = off_heat[target] / np.maximum(off_heat[target].sum(axis=1, keepdims=True), 0.1) * np.float16(0.9)
    return replace(evidence, off=off, off_heat=off_heat, context=context | {"heat": heat})


def copied(evidence: Evidence, rows: NDArray[np.integer], times: int) -> Evidence:
    """The same with more copies of some targets, as near-duplicates of their images."""
    order = np.concatenate([np.arange(len(evidence)), np.tile(rows, times)])
    names = ("sample", "slot", "class_id", "probability", "named", "off", "known", "boxed", "severity", "wrong")
    names += ("labelled", "unit", "off_heat", "off_area", "clear")
    attributes = {name: (codes[order], values) for name, (codes, values) in evidence.attributes.items()}
    return replace(evidence, attributes=attributes, **{name: getattr(evidence, name)[order] for name in names})


def in_bursts(evidence: Evidence, frames: int, seed: int = 0) -> Evidence:
    """Each target as a burst of so many images, their maps the same but for noise, each image a unit by itself."""
    rng = np.random.default_rng(seed)
    burst = np.repeat(np.arange(len(evidence)), frames)
    single = np.arange(len(burst))
    noise = np.exp(rng.normal(0, 0.2, (len(burst), CELLS**2))).astype(np.float16)
    nothing = {name: values[:0] for name, values in evidence.context.items()}
    columns = {name: value[burst] for name, value in vars(evidence).items() if isinstance(value, np.ndarray)}
    attributes = {name: (codes[burst], values) for name, (codes, values) in evidence.attributes.items()}
    columns |= {"sample": single, "unit": single, "off_heat": columns["off_heat"] * noise}
    return replace(evidence, attributes=attributes, context=nothing, **columns)
