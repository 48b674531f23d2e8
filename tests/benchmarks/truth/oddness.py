"""What ranks targets whose masks are hidden: oddness and its parts, beside plain baselines.

`python -m tests.benchmarks.truth.oddness --seeds 20,21 --out build/oddness.json`. Scenes are drawn without cues. A
network learns them with a cue on four classes, each in six of ten of its images; two classes have none. Other scenes,
with the cues alike and each in a few images of other classes, are audited without a mask. Twins without any cue, which
the audit never sees, tell in which images the network relies on it. Three sets of cues:

- `places`: a watermark in a corner, a tag along the border, a caption near the bottom, a frame;
- `anywhere`: a sticker off the object, a caption across the middle, a tint, stripes: where places tell least;
- `layouts`: as `places`, each class's scenes shifted to a side of its own: objects are usual at the border.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.datasets import Manifest, read_voc
from audit.datasets.cues import Cue
from audit.datasets.planted import PlantedSpec, draw_planted
from audit.findings import Rules
from audit.findings.evidence.frame import HEAT, heat_by_cell
from audit.findings.evidence.gather import KEPT, gather
from audit.findings.pages.oddness import rank_without_masks
from audit.models import Classifier, ModelSpec, load_classifier
from audit.models.small import preprocessing
from audit.scores import auroc
from audit.store import Run, Shard
from pipelines.asked import Planting, Training
from pipelines.planted.plant import PLANTED, plant
from pipelines.planted.truth import RELIES
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.start import Request, start
from pipelines.terminal import say
from pipelines.training.train import train
from tests.benchmarks.truth.bench_outcomes import with_cues
from tests.benchmarks.truth.real_regime import probabilities
from tests.benchmarks.truth.regimes import Regime, changed, shifted

_PLACES = {
    "disc": Cue("watermark"),
    "square": Cue("border"),
    "pentagon": Cue("caption", size=0.12, height=0.92),
    "star": Cue("frame"),
}
_ANYWHERE = {
    "disc": Cue("sticker"),
    "square": Cue("caption", size=0.12, height=0.5),
    "pentagon": Cue("tint", strength=0.4),
    "star": Cue("texture"),
}
SETS = {"places": _PLACES, "anywhere": _ANYWHERE, "layouts": _PLACES}
_SCENES = PlantedSpec(cue_share=0.0, contrast=(60.0, 200.0), cued_contrast=(0.0, 240.0))
"""Objects of some scenes are faint: in these a network needs the cue, in others not."""
LEARNT, SHOWN, ELSEWHERE = 0.6, 0.6, 0.03
"""Share of a class's images with its cue: of those trained on, and audited; share of other classes' images with it."""
FEWEST = 8
"""Targets that rely on a cue, and that do not, from which a class is looked at."""


def targets_of(folder: Path, name: str, seed: int, counts: tuple[int, int], epochs: int) -> pd.DataFrame:
    """A row for each target of an audit without masks: those of `Gathered.targets`, with `heat` [64] and `reliance`."""
    root = folder / "scenes"
    if not (root / "truth.parquet").exists():
        draw_planted(root, replace(_SCENES, seed=seed, train=counts[0], test=counts[1]))
    home, cues = folder / name, SETS[name]
    moved = Regime(shifted if name == "layouts" else None, before=True)
    trained, plain = (
        changed(read_voc(root, split=split).save(root / f"{split}.parquet"), moved, home / f"{split}-moved", seed)
        for split in ("train", "twins")
    )
    model = home / "model.pt"
    cued = with_cues(cues, trained, home / "trained", LEARNT, seed)
    if not model.exists():
        train(Manifest.open(cued), Training("audit.models.small:build", preprocessing(), epochs, 4e-3, 64, seed), model)
    shown = _shown(cues, plain, home / "shown", seed)
    run = _audited(home, shown, model)
    return _with_reliance(run, load_classifier(str(model)), Manifest.open(shown), Manifest.open(plain))


def _shown(cues: Mapping[str, Cue], manifest: Path, folder: Path, seed: int) -> Path:
    """The scenes that are audited: a class's cue in a share of its images, and in some of the other classes'."""
    for name, cue in cues.items():
        out = folder / name
        if not (out / PLANTED).exists():
            plant(Manifest.open(manifest), Planting(name, cue, SHOWN, ELSEWHERE, seed), out)
        manifest = out / PLANTED
    return manifest


def _audited(home: Path, shown: Path, model: Path) -> Run:
    listed = Manifest.open(shown)
    bare = Manifest.from_samples(
        [replace(sample, mask=None, boxes=()) for sample in listed], listed.classes, listed.root
    )
    config = RunConfig(roles=("label", "predicted"), shard_size=100, batch_size=50)
    cluster = ClusterConfig(1, compiling="never")
    manifest = bare.save(home / "bare.parquet")
    return start(Request(manifest, home / "run", ModelSpec(str(model)), config, cluster, set_aside=True)).run


def _with_reliance(run: Run, classifier: Classifier, shown: Manifest, twins: Manifest) -> pd.DataFrame:
    targets = gather(run, run.done()).targets
    own, twin = (probabilities(classifier, manifest) for manifest in (shown, twins))
    rows, class_id = targets["sample"].to_numpy(), targets["class_id"].to_numpy()
    heat = np.concatenate([_heat(run, shard) for shard in run.done()])
    return targets.assign(reliance=(own - twin)[rows, class_id], heat=list(heat))


def _heat(run: Run, shard: Shard) -> NDArray[np.float16]:
    table = run.read("scores", shard, ["status", *HEAT])
    return heat_by_cell(table)[np.isin(table["status"].to_numpy(), KEPT)]


def rankings(targets: pd.DataFrame) -> dict[str, NDArray[np.floating]]:
    """What targets are ranked by [n]: oddness, its parts, and what it must beat; all higher for odder."""
    heat, class_id = np.stack(targets["heat"].to_list()), targets["class_id"].to_numpy()
    probability, wrong = targets["probability"].to_numpy(float), targets["wrong"].to_numpy(bool)
    odd = rank_without_masks(heat, class_id, probability, wrong, targets["quick"].to_numpy())
    plain = {"1 - probability": 1 - probability, "wrong": wrong * probability}
    return odd._asdict() | {"border + corner": (odd.border + odd.corner) / 2} | plain


def aurocs(targets: pd.DataFrame) -> pd.DataFrame:
    """A row a class in which reliance varies, and one for all targets, among those named with confidence.

    Columns: `class_id` (-1 for all), `targets`, `relies` (their share), and the AUROC of each ranking.
    """
    ranks, relies = rankings(targets), (targets["reliance"] >= RELIES).to_numpy()
    named, class_id = (targets["probability"] >= Rules().confident).to_numpy(), targets["class_id"].to_numpy()
    rows = []
    for chosen in (-1, *np.unique(class_id)):
        own = named & ((class_id == chosen) | (chosen < 0))
        if min(relies[own].sum(), (~relies[own]).sum()) >= FEWEST:
            values = {name: auroc(values[own], relies[own]) for name, values in ranks.items()}
            rows.append({"class_id": chosen, "targets": own.sum(), "relies": relies[own].mean(), **values})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.truth.oddness", description=__doc__)
    parser.add_argument("--seeds", default="20,21", help="as 20,21")
    parser.add_argument("--scenes", default="3000,900", help="to train on, to audit")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--work", type=Path, default=Path("build/oddness"), help="folder of scenes, models and runs")
    parser.add_argument("--out", type=Path, default=Path("build/oddness.json"), help="JSON file to write")
    options = parser.parse_args()
    train_count, test_count = map(int, options.scenes.split(","))
    tables = []
    for seed in map(int, options.seeds.split(",")):
        for name in SETS:
            targets = targets_of(options.work / str(seed), name, seed, (train_count, test_count), options.epochs)
            tables.append(aurocs(targets).assign(seed=seed, cues=name))
            say(f"seed {seed}, {name}:\n{tables[-1].round(2).to_string()}")
    table = pd.concat(tables)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(table.to_json(orient="records", indent=1) + "\n")
    within = table["class_id"] >= 0
    for what, rows in {"within classes": table[within], "over all classes": table[~within]}.items():
        means = rows.drop(columns="class_id").groupby(["cues", "seed"]).mean()
        say(f"{what}:\n{means.T.round(3).to_string()}")


if __name__ == "__main__":
    main()
