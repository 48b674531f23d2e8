"""A worked case: an attribute that goes with a class in training, found by the audit, and gone after the fix.

Images of four classes come from two sites. The scanner of the south site leaves a tag at the border of its images.
Nine in ten training images of discs are from the north, nine in ten of rings, which look like discs, from the south;
the others are from both alike. In the test images site and class are independent. So it was with doctors and nurses in
section 6.3 of the Grad-CAM paper (Selvaraju et al., ICCV 2017), and the fix is the same: train again, on the same
scenes, half of each class from each site.

Run it: python -m tests.benchmarks.truth.case_groups --work build/case_groups
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from audit.compare import compare_runs
from audit.datasets import read_table
from audit.datasets.cues import Cue, paint_cue
from audit.datasets.planted import CLASSES as SHAPES
from audit.datasets.planted import PlantedSpec, Split, draw_scene
from audit.drawing.pixels import overlay
from audit.findings import Claim, Findings, Rules
from audit.findings.evidence.gather import gather
from audit.findings.evidence.targets import Evidence
from audit.findings.judge import judge
from audit.images.reading import decode_image, read_bytes
from audit.images.views import View
from audit.models import ModelSpec
from audit.models.small import preprocessing
from audit.store import Run
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.start import Request, start
from pipelines.training.train import Training, train

ARCH = "audit.models.small:build"
USUAL = {"disc": "north", "ring": "south", "bar": None, "star": None}
"""Class -> the site of most of its training images, None for both alike."""
SITES = ("north", "south")
SIZE = 64
CONTRAST = (100.0, 150.0)
TAG = Cue("border", size=0.2)
BALANCED = 2


@dataclass(frozen=True)
class Case:
    """What is drawn and how the network is trained.

    Attributes:
        seed: of scenes, tags, first weights and the order of training.
        train, test: images of each class.
        one_in: of so many training images of a class with a usual site one is from the other.
        epochs: of both trainings.
    """

    seed: int = 0
    train: int = 300
    test: int = 100
    one_in: int = 10
    epochs: int = 8


def draw(folder: Path, case: Case, split: Split, one_in: int) -> Path:
    """Write images, masks and their table with the columns path, label, mask and site; return the table's path.

    The same seed and split give the same scenes, whatever the sites.
    """
    (folder / "masks").mkdir(parents=True)
    rows = []
    for turn in range(case.train if split == "train" else case.test):
        for label in USUAL:
            site = site_of(label, turn, one_in)
            name = f"{label}_{turn:04d}.png"
            image, mask = draw_image(case.seed, split, SHAPES.index(label) + len(SHAPES) * turn, site)
            Image.fromarray(image).save(folder / name, compress_level=1)
            Image.fromarray(mask).save(folder / "masks" / name)
            rows.append({"path": name, "label": label, "mask": f"masks/{name}", "site": site})
    table = folder / "images.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table


def site_of(label: str, turn: int, one_in: int) -> str:
    """The site of a class's image: one in so many is from the unusual one, and every other where none is usual."""
    usual = USUAL[label]
    unusual = turn % (one_in if usual else BALANCED) == 0
    return SITES[(usual == "south") != unusual]


def draw_image(seed: int, split: Split, index: int, site: str) -> tuple[np.ndarray, np.ndarray]:
    """A planted scene without a cue, uint8 [S, S, 3], tagged if it is from the south, and its object, bool [S, S]."""
    scene = draw_scene(PlantedSpec(seed=seed, size=SIZE, contrast=CONTRAST), split, index, with_cue=False)
    if site == "south":
        rng = np.random.default_rng([seed, split == "test", index])
        painted = paint_cue(TAG, scene.image, scene.mask != 0, rng)
        assert painted is not None, "objects never fill an edge"
        return painted[0], scene.mask == scene.class_id + 1
    return scene.image, scene.mask == scene.class_id + 1


def measure(work: Path, case: Case) -> tuple[Run, Run]:
    """Draw, train and audit before and after the fix, both runs over the same test images."""
    test = draw(work / "test", case, "test", BALANCED)
    manifest = read_table(test, mask_kind="binary").save(work / "test.parquet")
    runs = []
    for name, one_in in (("before", case.one_in), ("after", BALANCED)):
        table = draw(work / name, case, "train", one_in)
        how = Training(ARCH, preprocessing(SIZE), case.epochs, learning_rate=4e-3, seed=case.seed)
        train(read_table(table, mask_kind="binary"), how, work / f"{name}.pt")
        out = work / "runs" / name
        start(Request(manifest, out, ModelSpec(str(work / f"{name}.pt")), RunConfig(), ClusterConfig(workers=1)))
        runs.append(Run.open(out))
    return runs[0], runs[1]


def group_table(run: Run) -> pd.DataFrame:
    """By class and site: images with a map, the share named wrongly, the mean share of the heat off the object."""
    evidence = evidence_of(run)
    codes, sites = evidence.attributes["site"]
    rows = evidence.labelled
    table = pd.DataFrame(
        {
            "class": np.array(evidence.classes)[evidence.class_id[rows]],
            "site": np.array(sites)[codes[rows]],
            "wrong": evidence.wrong[rows],
            "heat_off": evidence.off_heat[rows].sum(axis=1, dtype=float),
        }
    )
    means = {"images": ("wrong", "size"), "wrong": ("wrong", "mean"), "heat_off": ("heat_off", "mean")}
    return table.groupby(["class", "site"], as_index=False).agg(**means)


def evidence_of(run: Run) -> Evidence:
    """What the claims of a run were made from."""
    rules = Rules()
    gathered = gather(run, run.done())
    return gathered.evidence(run, judge(gathered.scored, rules), rules.confident)


def group_claims(run: Run) -> list[Claim]:
    """Claims about sites that were found."""
    return [claim for claim in Findings(run).standing_claims() if claim.kind == "group"]


def markdown(before: Run, after: Run) -> str:
    """The table of groups, the claims of both runs, and what `camaudit compare` says of accuracy and heat."""
    joined = group_table(before).merge(group_table(after), on=["class", "site"], suffixes=("", "_after"))
    lines = ["| class | site | images | named wrongly: before | after | heat off the object: before | after |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for row in joined.to_dict("records"):
        numbers = [f"{row[name]:.2f}" for name in ("wrong", "wrong_after", "heat_off", "heat_off_after")]
        lines.append(f"| {row['class']} | {row['site']} | {row['images']} | {' | '.join(numbers)} |")
    for name, run in (("before", before), ("after", after)):
        lines += ["", f"Claims about groups, {name}:"]
        lines += [f"- {claim.claim_id}, q {claim.q:.1g}. {claim.says}" for claim in group_claims(run)] or ["- none"]
    lines += ["", "After less before:", *map(_change, compare_runs(before, after)["measures"].items())]
    return "\n".join(lines)


def _change(item: tuple[str, Mapping[str, Any]]) -> str:
    name, one = item
    interval = f"{one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"
    return f"- {name}: {one['a']:.3f} to {one['b']:.3f}, {interval}"


def picture(before: Run, after: Run, path: Path) -> None:
    """The first test image of each class and site, and the heat of the class that it is named, before and after."""
    matplotlib.rcParams["font.size"] = 8
    groups = [(label, site) for label, usual in USUAL.items() if usual for site in SITES]
    figure = Figure(figsize=(6.4, 5), layout="constrained")
    axes = figure.subplots(3, len(groups))
    for place, (label, site) in enumerate(groups):
        listed = [sample.attributes["site"] == site and sample.id.startswith(label) for sample in before.manifest()]
        row = listed.index(True)
        image = decode_image(read_bytes(list(before.manifest())[row].image), label)
        axes[0, place].imshow(image)
        axes[0, place].set_title(f"{label}, {site}")
        for axis, when, run in zip(axes[1:, place], ("before", "after"), (before, after), strict=True):
            name, heat = _named(run, row)
            axis.imshow(overlay(image, heat, View(0, 0, image.shape[1], image.shape[0]), 0.6))
            axis.set_title(f"{when}: {name}", color="black" if name == label else "firebrick")
    for axis in axes.ravel():
        axis.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _named(run: Run, row: int) -> tuple[str, np.ndarray]:
    """The class that an image is named and the class's map."""
    shard = run.shards[row // run.record["shard_size"]]
    targets = run.read("targets", shard).to_pandas()
    best = targets[(targets["sample"] == row) & (targets["rank"] == 0)].iloc[0]
    return best["class"], run.maps(row, row + 1)[0, best["slot"]].astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.truth.case_groups", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/case_groups"), help="new folder for images and runs")
    parser.add_argument("--seed", type=int, default=0, help="of scenes and training")
    parser.add_argument("--picture", type=Path, help="PNG to draw")
    options = parser.parse_args()
    before, after = measure(options.work, Case(seed=options.seed))
    print(f"\n{markdown(before, after)}")
    if options.picture:
        picture(before, after, options.picture)


if __name__ == "__main__":
    main()
