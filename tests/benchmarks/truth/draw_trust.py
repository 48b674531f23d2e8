"""Draw the pictures of docs/trust.md from a demo: python -m tests.benchmarks.truth.draw_trust RUN SCENES MODEL."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from audit.datasets.planted import read_truth
from audit.drawing.pixels import draw_contour, enlarge, overlay
from audit.drawing.targets import Picture, read_picture
from audit.images.reading import decode_image, read_bytes
from audit.images.views import upsample
from audit.models import Classifier, load_classifier
from audit.stats.intervals import wilson_interval
from audit.store import Run

IMAGES = Path(__file__).parents[3] / "docs" / "images"
SHIFTS = ((0.3, 0.0), (0.0, 0.55), (0.5, 0.35), (0.7, 0.75))
"""Places that the same heat is put at, as shares of the view."""
PALE, RED = "#e3b5a6", "#a63a1f"


def main(run_path: str, scenes: str, model: str) -> None:
    """Draw all of them."""
    run, truth = Run.open(run_path), read_truth(scenes).set_index("id")
    targets = _targets(run)
    off, on = _worst(targets, "disc"), _best(targets, "star")
    _save(draw_chance(run, [off, on]), "trust-chance.png")
    _save(draw_places(run, targets, "disc"), "trust-places.png")
    _save(draw_twins(run, truth, load_classifier(model), Path(scenes), off), "trust-twins.png")
    _save(draw_intervals(), "trust-intervals.png")


def draw_chance(run: Run, rows: Sequence[Any]) -> Figure:
    """Each target's heat where it is, and at a few other places, with the share of it that lies on the object."""
    figure, axes = _figure(len(rows), 1 + len(SHIFTS), 9, 4.4)
    for row, line in zip(rows, axes, strict=True):
        picture = _picture(run, row)
        heat = upsample(picture.heat, picture.view, *picture.image.shape[:2])
        heat = heat.reshape(picture.image.shape[:2])
        for axis, (down, right) in zip(line, ((0.0, 0.0), *SHIFTS), strict=True):
            steps = round(down * heat.shape[0]), round(right * heat.shape[1])
            moved = np.roll(heat, steps, (0, 1))
            share = moved[picture.target].sum() / moved.sum()
            axis.imshow(_outlined(picture, moved))
            axis.set_xlabel(f"{100 * share:.0f} % on the object", fontsize=9)
        line[0].set_ylabel(f"{row['class']}\n{100 * row['p_high']:.0f} % of places\ndo as well", fontsize=9)
        line[0].set_title("the model's heat" if row is rows[0] else "", fontsize=10)
        line[2].set_title("the same heat at other places" if row is rows[0] else "", fontsize=10)
    return figure


def draw_places(run: Run, targets: pd.DataFrame, name: str) -> Figure:
    """Mean heat off the object by part of the frame: of a class, and of the others."""
    figure, (axes,) = _figure(1, 2, 5, 2.9)
    named = (targets["class"] == name).to_numpy()
    means = [np.stack(targets["off_heat"][mask]).mean(axis=0).reshape(8, 8) for mask in (named, ~named)]
    most = max(mean.max() for mean in means)
    for axis, mean, mask, title in zip(axes, means, (named, ~named), (name, "all other classes"), strict=True):
        axis.imshow(mean, cmap="magma", vmin=0, vmax=most)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"{int(mask.sum())} images", fontsize=9)
    return figure


def draw_twins(run: Run, truth: pd.DataFrame, classifier: Classifier, scenes: Path, row: Any) -> Figure:
    """A scene with its watermark and without, and what the model makes of each."""
    figure, (axes,) = _figure(1, 2, 5, 2.9)
    for axis, id_, title in zip(
        axes, (row["id"], truth.loc[row["id"], "twin"]), ("as it is", "without the mark"), strict=True
    ):
        path = str(next((scenes / "JPEGImages").glob(f"{id_}.*")))
        image = decode_image(read_bytes(path), path)
        probability = _probability(classifier, image, row["class_id"])
        axis.imshow(enlarge(image, 4))
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"p({row['class']}) = {probability:.2f}", fontsize=9)
    return figure


def draw_intervals() -> Figure:
    """The same share of few images and of many, with its interval."""
    figure = Figure(figsize=(6, 1.7), layout="constrained")
    axis = figure.subplots()
    for place, (count, total) in enumerate(((75, 100), (15, 20), (3, 4))):
        low, high = (float(end[0]) for end in wilson_interval(np.array([count]), np.array([total])))
        axis.plot([low, high], [place, place], color=PALE, linewidth=8, solid_capstyle="round")
        axis.plot(count / total, place, "o", color=RED)
        axis.text(
            1.04, place, f"{count} of {total} images: {100 * low:.0f} to {100 * high:.0f} %", va="center", fontsize=9
        )
    axis.set(xlim=(0, 1), ylim=(-0.6, 2.6), yticks=[])
    axis.set_xticks(np.linspace(0, 1, 5), [f"{100 * tick:.0f} %" for tick in np.linspace(0, 1, 5)], fontsize=8)
    axis.spines[["left", "right", "top"]].set_visible(False)
    return figure


def _targets(run: Run) -> pd.DataFrame:
    """Scored, confidently named targets with their scores."""
    parts = []
    for shard in run.done():
        scores = run.read("scores", shard).drop_columns(["inside", "outside", "reason"]).to_pandas()
        targets = run.read("targets", shard, ["sample", "slot", "class_id", "class", "probability"]).to_pandas()
        ids = run.read("samples", shard, ["sample", "id"]).to_pandas()
        parts.append(scores.merge(targets, on=["sample", "slot"]).merge(ids, on="sample"))
    rows = pd.concat(parts, ignore_index=True)
    return rows[(rows["status"] == "scored") & (rows["probability"] >= 0.5)].reset_index(drop=True)


def _worst(targets: pd.DataFrame, name: str) -> Any:
    rows = targets[targets["class"] == name]
    return rows.assign(severity=rows["p_high"] * (2 * rows["probability"] - 1)).nlargest(1, "severity").iloc[0]


def _best(targets: pd.DataFrame, name: str) -> Any:
    return targets[targets["class"] == name].nsmallest(1, ["p_high"]).iloc[0]


def _picture(run: Run, row: Any) -> Picture:
    shard = run.shards[row["sample"] // run.record["shard_size"]]
    sample = run.read("samples", shard).filter(pc.field("sample") == row["sample"]).to_pylist()[0]
    return read_picture(run, sample, int(row["slot"]), int(row["class_id"]))


def _outlined(picture: Picture, heat: NDArray[np.floating]) -> NDArray[np.uint8]:
    return draw_contour(
        enlarge(overlay(picture.image, heat, picture.view, 0.6), 4), enlarge(picture.target, 4), width=3
    )


def _probability(classifier: Classifier, image: NDArray[np.uint8], class_id: int) -> float:
    batch = classifier.preprocessing.normalise(image[None])
    return float(classifier.probabilities(classifier.module(batch)).detach().numpy()[0, class_id])


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, NDArray[Any]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        _bare(axis)
    return figure, axes


def _bare(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _save(figure: Figure, name: str) -> None:
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    Image.open(drawn).convert("RGB").quantize(256).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
