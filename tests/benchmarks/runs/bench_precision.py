"""bfloat16 against float32 over a whole run: maps, scores and findings, on 280 VOC images and on planted scenes.

The VOC images and the networks for them lie beside the project; where they are absent the planted scenes alone count.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from audit.datasets import read_voc
from audit.datasets.planted import PlantedSpec
from audit.models import ModelSpec
from audit.store import Run
from pipelines.planted.demo import demo
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.start import Request, start
from tests.benchmarks.timing import Row

SHARED = Path(__file__).resolve().parents[4] / "shared"
WORKERS = ClusterConfig(2, compiling="never")


@dataclass(frozen=True)
class Collection:
    """A collection with the model that is audited on it."""

    name: str
    manifest: Path
    spec: ModelSpec


def measure(rounds: int) -> list[Row]:
    """One run in each precision: results do not vary with the round."""
    with tempfile.TemporaryDirectory(prefix="camaudit-bench-") as folder:
        return [_compare(collection, Path(folder)) for collection in [_planted(Path(folder)), *voc(Path(folder))]]


def _planted(folder: Path) -> Collection:
    """The scenes and the network of `camaudit demo`."""
    scenes = folder / "scenes"
    demo(folder / "demo", scenes, PlantedSpec(), WORKERS, epochs=8)
    return Collection("planted scenes", scenes / "test.parquet", ModelSpec(str(scenes / "model.pt")))


def voc(folder: Path) -> list[Collection]:
    """The photographs beside the project under their own network, and ImageNet's; none where they are absent."""
    if not SHARED.is_dir():
        return []
    manifest = folder / "voc.parquet"
    read_voc(SHARED / "voc2012" / "VOCdevkit" / "VOC2012", split="trainval").save(manifest)
    build, weights = SHARED / "models" / "voc_squeezenet.py", SHARED / "models" / "voc_squeezenet.pth"
    own = ModelSpec(f"{build}:build", str(weights), layer="features", size=320, mode="squash", activation="sigmoid")
    imagenet = ModelSpec(
        "torchvision:squeezenet1_0", str(SHARED / "models" / "squeezenet1_0_imagenet.pth"), layer="features"
    )
    return [Collection("VOC, its SqueezeNet", manifest, own), Collection("VOC, ImageNet's", manifest, imagenet)]


def _compare(collection: Collection, folder: Path) -> Row:
    exact, rounded = (_audit(collection, folder, precision) for precision in ("float32", "bfloat16"))
    cosines = _cosines(exact, rounded)
    old, new = (_findings(run) for run in (exact, rounded))
    before, after = (_summary(run) for run in (exact, rounded))
    return {
        "collection": collection.name,
        "maps": len(cosines),
        "cosine, median": round(float(np.median(cosines)), 5),
        "cosine, lowest 1 %": round(float(np.quantile(cosines, 0.01)), 4),
        "mean IoU": f"{before['mean_iou']:.4f} {after['mean_iou'] - before['mean_iou']:+.4f}",
        **{name: f"{before['means'][name]:.4f} {_difference(before, after, name):+.4f}" for name in ("energy", "hit")},
        "findings": len(old),
        "gone": len(old - new),
        "new": len(new - old),
        "class findings": f"{len(before['classes_off_object'])} -> {len(after['classes_off_object'])}",
    }


def _difference(before: dict[str, Any], after: dict[str, Any], name: str) -> float:
    return float(after["means"][name] - before["means"][name])


def _audit(collection: Collection, folder: Path, precision: str) -> Run:
    out = folder / f"{collection.name} {precision}"
    config = replace(RunConfig(shard_size=40, roles=("label",)), precision=precision)
    start(Request(collection.manifest, out, collection.spec, config, WORKERS))
    return Run.open(out)


def _summary(run: Run) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run.path / "summary.json").read_text())
    return summary


def _findings(run: Run) -> set[str]:
    parts = (run.path / "findings").glob("part-*.parquet")
    return {finding for part in parts for finding in pq.read_table(part)["finding_id"].to_pylist()}


def _cosines(exact: Run, rounded: Run) -> NDArray[np.float64]:
    """Cosine of every map that has evidence in both."""
    a, b = (run.maps(0, run.samples).astype(np.float64) for run in (exact, rounded))
    a, b = (maps.reshape(-1, maps.shape[2] * maps.shape[3]) for maps in (a, b))
    both = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    a, b = a[both], b[both]
    cosines: NDArray[np.float64] = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return cosines
