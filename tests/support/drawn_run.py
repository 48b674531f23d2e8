"""A run of any size whose tables are drawn, not computed: findings without images or a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from audit.datasets.manifest import Manifest, Sample
from audit.store import Run, Shard, layout

CLASSES = tuple(f"class {number:02d}" for number in range(20))
CAMERAS = ("north", "south", "east")
SHARD = 256
FEATURES = 64
MARKED = 3
"""The class with a spot in the bottom right corner, in half of its images."""


def draw_run(
    path: Path,
    samples: int,
    masked: float = 1.0,
    seed: int = 0,
    marked: tuple[int, ...] = (MARKED,),
    shard_size: int = SHARD,
) -> Run:
    """Lay out a run of so many samples with one target each, of which the first share has masks.

    Args:
        marked: classes with a spot in the corner.
    """
    rng = np.random.default_rng(seed)
    listed = (
        Sample(f"{row:07d}", f"{row:07d}.jpg", (row % len(CLASSES),), attributes={"camera": CAMERAS[row % 7 % 3]})
        for row in range(samples)
    )
    record = {
        "config": {"scored": True, "roles": ["label"], "method": "gradcam"},
        "model": {"fingerprint": "0", "layer": "drawn"},
        "source": {"model": "by hand"},
        "grid": [7, 7],
        "slots": 1,
        "encoding": "float16",
        "shard_size": shard_size,
    }
    run = Run.create(path, Manifest.from_samples(listed, CLASSES), record)
    for shard in run.shards:
        _write_shard(run, shard, round(samples * masked), marked, rng)
    return run


def _write_shard(run: Run, shard: Shard, masked: int, classes: tuple[int, ...], rng: np.random.Generator) -> None:
    """A shard's tables and its ledger entry; no maps, which findings do not read."""
    count = len(shard)
    rows = np.arange(shard.start, shard.stop)
    class_id = rows % len(CLASSES)
    marked = np.isin(class_id, classes) & (rng.random(count) < 0.5)
    tables: dict[str, dict[str, Any]] = {
        "samples": _samples(rows, rng),
        "targets": _targets(rows, class_id, rng),
        "scores": _scores(rows, marked, rows < masked, rng),
        "context": _context(rows, class_id, rng),
        "features": _features(rows, class_id, marked, rng),
        "confusion": {name: np.arange(3) for name in layout.CONFUSION.names},
        "checks": _checks(rows, marked),
    }
    run.commit(shard, None, tables, {"processed": count, "failed": 0, "transient": 0, "seconds": 0.0})


def _samples(rows: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    fixed = {"status": "processed", "reason": None, "transient": False, "height": 480, "width": 640, "digest": "0" * 16}
    box = {"x0": 0.0, "y0": 0.0, "x1": 640.0, "y1": 480.0}
    columns = {name: [value] * len(rows) for name, value in (fixed | box).items()}
    return {"sample": rows, "id": [f"{row:07d}" for row in rows], "look": rng.integers(0, 2**60, len(rows)), **columns}


def _targets(rows: np.ndarray, class_id: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    count = len(rows)
    return {
        "sample": rows,
        "slot": np.zeros(count, int),
        "class_id": class_id,
        "class": [CLASSES[i] for i in class_id],
        "role": ["label"] * count,
        "rank": (rng.random(count) < 0.1).astype(int),
        "logit": rng.normal(3, 1, count),
        "probability": rng.random(count) ** 0.2,
        "peak": rng.random(count) + 0.1,
        "status": ["ok"] * count,
    }


def _scores(rows: np.ndarray, marked: np.ndarray, known: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    count, cells = len(rows), layout.CELLS**2
    area = rng.beta(2, 8, count)
    energy = np.where(marked, 0.1 * rng.random(count), area ** rng.uniform(0.2, 1, count))
    block = _blocks(count, rng)
    on, off = (_shares(rng.dirichlet(np.full(cells, 0.3), count) * part) for part in (block, ~block))
    off = np.where(marked[:, None], 0.2 * off + 0.8 * (np.arange(cells) == cells - 1), off)
    off = (1 - energy)[:, None] * off
    heat = energy[:, None] * on + off
    block &= known[:, None]
    high = np.where(marked, 0.3 + 0.7 * rng.random(count), rng.random(count) ** 8)
    flags = {name: rng.random(count) < 0.5 for name in ("hit", "hit_15px", "centre_hit", "centre_hit_15px")}
    inside = rng.poisson(200 * area[:, None] * np.linspace(0.2, 2, layout.LEVELS)).astype(np.int32)
    numbers = {
        "area": area,
        "energy": energy,
        "lift": energy / area,
        "best_iou": rng.random(count),
        "p_low": np.ceil((1 - high) * 1024) / 1024,
        "p_high": np.ceil(high * 1024) / 1024,
        "attainable": np.maximum(energy, rng.random(count)),
        "centre_energy": rng.random(count),
        "peak_distance": rng.random(count) * 0.5,
    }
    outside = rng.poisson(500 * np.linspace(2, 0.2, layout.LEVELS), (count, layout.LEVELS))
    return {
        "sample": rows,
        "slot": np.zeros(count, int),
        "status": np.where(known, "scored", "no_mask").astype(object),
        "reason": [None] * count,
        **{name: np.where(known, values, np.nan) for name, values in numbers.items()},
        **flags,
        "best_map_level": rng.integers(0, 256, count),
        "rests_on": np.where(known, "mask", None),
        "on_heat": np.where(known[:, None], heat - off, 0).astype(np.float16),
        "off_heat": np.where(known[:, None], off, heat).astype(np.float16),
        "off_area": (~block / cells).astype(np.float16),
        "clear": ~block,
        "inside": inside,
        "outside": outside.astype(np.int32),
    }


def _blocks(count: int, rng: np.random.Generator) -> np.ndarray:
    """Objects of 3 x 3 cells, clear of the last row and column: bool [n, 64]."""
    cells = np.arange(layout.CELLS)
    first = rng.integers(0, layout.CELLS - 3, (2, count, 1))
    rows, columns = (cells >= first) & (cells < first + 3)
    return (rows[:, :, None] & columns[:, None, :]).reshape(count, -1)


def _shares(heat: np.ndarray) -> np.ndarray:
    return heat / np.maximum(heat.sum(axis=1, keepdims=True), 1e-12)


def _context(rows: np.ndarray, class_id: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    chosen = rng.random(len(rows)) < 0.5
    other = (class_id[chosen] + rng.integers(1, len(CLASSES), chosen.sum())) % len(CLASSES)
    shares = {name: rng.beta(1, 9, chosen.sum()) for name in ("heat", "area")}
    return {"sample": rows[chosen], "slot": np.zeros(chosen.sum(), int), "class_id": other, **shares}


def _checks(rows: np.ndarray, marked: np.ndarray) -> dict[str, Any]:
    """Half of the marked, and a few others, were asked."""
    rng = np.random.default_rng(rows[0])
    asked = rng.random(len(rows)) < np.where(marked, 0.5, 0.05)
    reliance = np.where(marked, rng.beta(8, 2, len(rows)), rng.beta(2, 8, len(rows)))
    return {"sample": rows[asked], "slot": np.zeros(asked.sum(), int), "reliance": reliance[asked]}


def _features(rows: np.ndarray, class_id: np.ndarray, marked: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    middles = np.random.default_rng(1).normal(size=(len(CLASSES) * 3, FEATURES))
    middle = middles[class_id * 3 + np.where(marked, 2, rng.integers(0, 2, len(rows)))]
    under = (middle + rng.normal(0, 0.3, middle.shape)).astype(np.float16)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(under.ravel()), FEATURES).cast(
        layout.FEATURES.field("relevance").type
    )
    return {"sample": rows, "slot": np.zeros(len(rows), int), "relevance": lists}
