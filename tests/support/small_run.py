"""A run of six drawn samples without a model: maps put on or off the object by hand, scored and flagged for real."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from audit.datasets.manifest import Manifest, Sample
from audit.findings import Rules
from audit.findings.judge import flag
from audit.images import MAX_PIXELS
from audit.images.masks import write_index_png
from audit.scores.scorer import score_samples
from audit.store import Run, Shard, layout

HEIGHT, WIDTH, CELL = 48, 64, 8
OBJECT = np.s_[8:24, 8:24]
ON, OFF = (1, 1), (5, 7)
HOSTILE = "<script>document.title='taken'</script> **bold** :red[red] $x$ [a](b) =cmd()"
CLASSES = ("square", HOSTILE)
TARGETS = (("a", 0, 0.9, OFF), (HOSTILE * 50, 1, 0.8, OFF), ("c", 0, 0.7, OFF), ("d", 1, 0.95, ON), ("e", 0, 0.85, ON))
"""Id, class, probability and hot cell of each processed sample; the sixth, `f`, failed."""
CHECKED = {0: 0.75, 1: 0.25}
"""Quick reliance of the samples that were asked again, by row."""
FAILURE = "Expected an image: f.png is empty (0 bytes)"


def make_run(
    folder: Path,
    shards: int = 3,
    flagged: bool = True,
    scored: bool = True,
    masks: bool = True,
    readable: int = len(TARGETS),
) -> Path:
    """Draw images and masks, and audit the first shards of two samples each; returns the run's directory.

    Args:
        scored: else the run was begun without scores, and so is not flagged either.
        masks: else no object is known.
        readable: how many samples do not fail.
    """
    manifest = _draw(folder / "images", masks)
    record = {
        "config": {"scored": scored, "roles": ["label"], "method": "gradcam", "max_pixels": MAX_PIXELS},
        "model": {"fingerprint": "0", "layer": "drawn", "fit": {"size": WIDTH}, "mean": [0.5] * 3, "std": [0.25] * 3},
        "source": {"model": "by hand"},
        "grid": [HEIGHT // CELL, WIDTH // CELL],
        "slots": 1,
        "encoding": "float16",
        "shard_size": 2,
    }
    run = Run.create(folder / "run", manifest, record)
    for shard in run.shards[:shards]:
        _commit(run, shard, manifest, readable)
    if flagged and scored:
        flag(run, Rules())
    return run.path


def _draw(folder: Path, masks: bool) -> Manifest:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(8)
    samples = []
    for place, (name, class_id) in enumerate([*((name, class_id) for name, class_id, *_ in TARGETS), ("f", 0)]):
        pixels = rng.integers(0, 120, (HEIGHT, WIDTH, 3), np.uint8)
        pixels[OBJECT] = 200
        Image.fromarray(pixels).save(folder / f"{place}.png")
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[OBJECT] = class_id + 1
        write_index_png(folder / f"{place}.mask.png", mask)
        samples.append(Sample(name, f"{place}.png", (class_id,), f"{place}.mask.png" if masks else None))
    return Manifest.from_samples(samples, CLASSES, folder)


def _commit(run: Run, shard: Shard, manifest: Manifest, readable: int) -> None:
    rows = range(shard.start, shard.stop)
    maps = np.stack([_map(row, readable) for row in rows])[:, None]
    samples, targets = _sample_rows(rows, list(manifest), readable), _target_rows(rows, readable)
    tables = {"samples": samples, "targets": targets, "checks": _check_rows(rows, readable)}
    if run.record["config"]["scored"]:
        listed = list(run.manifest(shard.start, shard.stop))
        scores, _ = score_samples(listed, maps, samples, targets, "index", len(CLASSES))
        tables |= {"features": _features(targets), "channels": _channels(targets), **scores}
    failed = samples["status"].count("failed")
    counts = {"processed": len(shard) - failed, "failed": failed, "transient": 0, "seconds": 0.1}
    run.commit(shard, maps, tables, counts)


def _check_rows(rows: range, readable: int) -> dict[str, list[Any]]:
    asked = [row for row in rows if row in CHECKED and row < readable]
    return {"sample": asked, "slot": [0] * len(asked), "reliance": [CHECKED[row] for row in asked]}


def _features(targets: dict[str, list[Any]]) -> dict[str, list[Any]]:
    under = [np.eye(4, dtype=np.float16)[row % 4] for row in targets["sample"]]
    return {"sample": targets["sample"], "slot": targets["slot"], "relevance": under}


def _channels(targets: dict[str, list[Any]]) -> dict[str, Any]:
    """Channel 3 carries most of the heat, and does so in its hot cell; channel 5 the rest, but for an eighth."""
    count = len(targets["sample"])
    hot = [TARGETS[row][3] for row in targets["sample"]]
    columns = {
        "channel": np.tile([3, 5, *[-1] * 6], (count, 1)),
        "share": np.tile([153, 70, *[0] * 6], (count, 1)),
        "cell": np.array([[y * (WIDTH // CELL) + x] * 8 for y, x in hot]).reshape(count, 8),
    }
    both = {f"{part}{name}": values for part in ("", "off_") for name, values in columns.items()}
    return {"sample": targets["sample"], "slot": targets["slot"], **both}


def _map(row: int, readable: int) -> NDArray[np.float16]:
    heat = np.zeros((HEIGHT // CELL, WIDTH // CELL), np.float16)
    if row >= readable:
        return heat * np.float16(np.nan)
    heat[TARGETS[row][3]] = 1
    return heat


def _sample_rows(rows: range, samples: list[Sample], readable: int) -> dict[str, list[Any]]:
    table: dict[str, list[Any]] = {name: [] for name in layout.SAMPLES.names}
    for row in rows:
        done = row < readable
        digest = hashlib.blake2b(Path(samples[row].image).read_bytes(), digest_size=8).hexdigest()
        box = {"height": HEIGHT, "width": WIDTH, "x0": 0.0, "y0": 0.0, "x1": WIDTH, "y1": HEIGHT, "digest": digest}
        box["look"] = row
        seen = box if done else dict.fromkeys(box)
        status = {"status": "processed" if done else "failed", "reason": None if done else FAILURE, "transient": False}
        for name, value in {"sample": row, "id": samples[row].id, **status, **seen}.items():
            table[name].append(value)
    return table


def _target_rows(rows: range, readable: int) -> dict[str, list[Any]]:
    table: dict[str, list[Any]] = {name: [] for name in layout.TARGETS.names}
    for row in rows:
        if row < readable:
            _, class_id, probability, _ = TARGETS[row]
            named = {"class_id": class_id, "class": CLASSES[class_id], "role": "label", "probability": probability}
            values = {"sample": row, "slot": 0, "rank": 0, "logit": 1.0, "peak": 1.0, "status": "ok", **named}
            for name, value in values.items():
                table[name].append(value)
    return table
