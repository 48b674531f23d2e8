"""Photographs with cues that people meet: what the audit claims, beside what the networks rely on.

Cues are planted on classes of PASCAL VOC, each in 90 % of its class, in a list to train on and in another to audit. A
SqueezeNet is trained further on the first until it relies on them. How much it does is measured on twins without any
cue; the audit never sees it. Needs the images and the network that may lie beside the project.

WORK/
  A/ B/               a set of cues: trained/ and audited/, each with planted.parquet and twins.parquet
    shorter/ longer/  a network: model.pth; truth.parquet, a row for each confident target; few.parquet, that list with
                      few images of classes with a cue; unmasked.parquet, it without masks; runs/ of all
  record.json         what was measured

Run it: python -m tests.benchmarks.truth.photographs
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from audit.datasets import Manifest, read_voc
from audit.datasets.cues import Cue
from audit.findings import Findings, Rules
from audit.findings.judge import flag
from audit.models import Classifier
from audit.models.execution import use_threads
from audit.scores import auroc
from audit.store import Run
from pipelines.asked import Planting
from pipelines.planted.plant import PLANTED, TRUTH, TWINS, plant
from pipelines.planted.truth import RELIES, image_scores, scores_of
from tests.benchmarks.truth.real_regime import (
    AUDITED,
    TRAINED,
    VOC,
    Tuning,
    audit,
    load,
    probabilities,
    train_further,
)

CUES = {
    "A": {
        "dog": Cue("caption", size=0.2),
        "chair": Cue("frame", size=0.2),
        "cat": Cue("tint", strength=0.5),
        "bird": Cue("sticker", size=0.3, strength=0.8),
    },
    "B": {"dog": Cue("letterbox", size=0.15), "bird": Cue("grey"), "cat": Cue("caption", size=0.2)},
}
"""Set of cues -> class -> the cue that goes with it."""
TUNINGS = {"shorter": Tuning(size=160, epochs=12), "longer": Tuning(size=160, epochs=24)}
SHARE = 0.9
FEW = 8
"""Confident images of a class with a cue in the list that has few."""
RELIED_ON = 0.3
"""Mean fall of p(c) over a class's confident targets with the cue, from which a claim about the class is wanted."""


def plant_set(work: Path, cues: dict[str, Cue], seed: int) -> None:
    """Both lists with all cues of a set, and the twins with none."""
    for split, share, name in (("train", SHARE, TRAINED), ("val", 1.0, AUDITED)):
        manifest, truths = read_voc(VOC, split=split), []
        for class_name, cue in cues.items():
            folder = work / name / class_name
            plant(manifest, Planting(class_name, cue, share, seed=seed), folder)
            truth = pd.read_parquet(folder / TRUTH)
            truths.append(truth[truth["planted"]])
            if len(truths) == 1:
                Manifest.open(folder / TWINS).save(work / name / TWINS)
            manifest = Manifest.open(folder / PLANTED)
        manifest.save(work / name / PLANTED)
        pd.concat(truths).to_parquet(work / name / TRUTH)


def truth_of(classifier: Classifier, folder: Path) -> pd.DataFrame:
    """A row for each target that the network names with confidence in the planted list.

    Columns: id, class, `labelled` (the class is among the sample's labels), `cue` (that of the class where the image
    has it, else null), `probability` with the cues, `twin` without any, `reliance`, their difference.
    """
    manifest = Manifest.open(folder / PLANTED)
    planted = pd.read_parquet(folder / TRUTH).set_index(["id", "class"])["cue"].to_dict()
    own, twin = (probabilities(classifier, Manifest.open(folder / name)) for name in (PLANTED, TWINS))
    samples, class_ids = np.nonzero(own >= Rules().confident)
    listed = list(manifest)
    table = pd.DataFrame(
        {
            "id": [listed[row].id for row in samples],
            "class": [manifest.classes[class_id] for class_id in class_ids],
            "labelled": [c in listed[row].labels for row, c in zip(samples, class_ids, strict=True)],
            "probability": own[samples, class_ids],
            "twin": twin[samples, class_ids],
        }
    )
    table["cue"] = [planted.get(key) for key in zip(table["id"], table["class"], strict=True)]
    return table.assign(reliance=table["probability"] - table["twin"])


def relied_on(truth: pd.DataFrame, cues: dict[str, Cue]) -> dict[str, dict[str, float]]:
    """Class with a cue -> of its confident labelled targets that show it: how many, mean fall, share of 0.5."""
    shown = truth[truth["cue"].notna() & truth["labelled"]]
    return {
        name: {
            "confident": int((shown["class"] == name).sum()),
            "mean_fall": float(shown.loc[shown["class"] == name, "reliance"].mean()),
            "relies": float((shown.loc[shown["class"] == name, "reliance"] >= 0.5).mean()),
        }
        for name in cues
    }


def claims_of(run: Run) -> list[dict[str, Any]]:
    """The claims that stand, each with its class, kind, q, ground and sentence."""
    names = ("class_name", "kind", "q", "rests_on", "says")
    return [{name: getattr(claim, name) for name in names} for claim in Findings(run).standing_claims()]


def verdict(claims: list[dict[str, Any]], reliance: dict[str, dict[str, float]]) -> dict[str, list[str]]:
    """Classes whose cue is relied on and claimed, and missed; classes without a cue that are accused."""
    accused = {claim["class_name"] for claim in claims if claim["class_name"]}
    wanted = {name for name, row in reliance.items() if row["mean_fall"] >= RELIED_ON}
    return {
        "found": sorted(wanted & accused),
        "missed": sorted(wanted - accused),
        "accused_without_a_cue": sorted(accused - set(reliance)),
    }


def measure(work: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Every network: trained unless it is there, its truth, its audits with the cues and without."""
    for set_name, cues in CUES.items():
        folder = work / set_name
        if not (folder / AUDITED / PLANTED).exists():
            plant_set(folder, cues, seed)
        for length, tuning in TUNINGS.items():
            yield {"set": set_name, "trained": length} | measure_network(folder, length, replace(tuning, seed=seed))


def measure_network(folder: Path, length: str, tuning: Tuning) -> dict[str, Any]:
    began, home = time.perf_counter(), folder / length
    if not (home / "model.pth").exists():
        home.mkdir(parents=True, exist_ok=True)
        classifier = load(tuning)
        train_further(classifier, Manifest.open(folder / TRAINED / PLANTED), tuning)
        torch.save(classifier.module.state_dict(), home / "model.pth")
    truth = truth_of(load(tuning, home / "model.pth"), folder / AUDITED)
    truth.to_parquet(home / TRUTH)
    reliance = relied_on(truth, CUES[folder.name])
    write_variants(folder, home, truth)
    claims = {}
    for name, manifest in manifests(folder, home).items():
        out = home / "runs" / name
        if out.exists():
            flag(Run.open(out), Rules())
        run = Run.open(out) if out.exists() else audit(manifest, home / "model.pth", out, tuning.size)
        claims[name] = claims_of(run)
    return {
        "reliance": reliance,
        "ranked": ranked(Run.open(home / "runs" / Path(PLANTED).stem), truth),
        "verdicts": {name: verdict(own, reliance) for name, own in claims.items()},
        "claims": claims,
        "seconds": time.perf_counter() - began,
    }


def ranked(run: Run, truth: pd.DataFrame) -> dict[str, float]:
    """AUROC of what findings are ranked by, and of baselines, over confident labelled targets: reliance of 0.5."""
    scores = scores_of(run)
    scores["class"] = [run.classes[class_id] for class_id in scores["class_id"]]
    labelled = truth.loc[truth["labelled"], ["id", "class", "reliance"]].rename(columns={"id": "audited"})
    table = scores.merge(labelled, on=["audited", "class"])
    table = table[table["probability"] >= Rules().confident]
    relies = (table["reliance"] >= RELIES).to_numpy()
    return {name: round(auroc(values, relies), 3) for name, values in image_scores(table).items()}


def manifests(folder: Path, home: Path) -> dict[str, Path]:
    """Name of a run -> what is audited."""
    variants = {name: home / f"{name}.parquet" for name in ("few", "unmasked")}
    return {Path(name).stem: folder / AUDITED / name for name in (PLANTED, TWINS)} | variants


def write_variants(folder: Path, home: Path, truth: pd.DataFrame) -> None:
    """The planted list with `FEW` confident images of each class with a cue, and the list without any mask."""
    manifest = Manifest.open(folder / AUDITED / PLANTED)
    shown = truth[truth["cue"].notna() & truth["labelled"]]
    kept = set(shown.groupby("class").head(FEW)["id"])
    few = [sample for sample in manifest if sample.id in kept or sample.id not in set(shown["id"])]
    bare = [replace(sample, mask=None) for sample in manifest]
    for name, samples in (("few", few), ("unmasked", bare)):
        written = Manifest.from_samples(samples, manifest.classes, mask_kind=manifest.mask_kind)
        written.save(home / f"{name}.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.truth.photographs", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/photographs"), help="folder for images and runs")
    parser.add_argument("--seed", type=int, default=0, help="of planting and training")
    options = parser.parse_args()
    use_threads()
    record = []
    for network in measure(options.work, options.seed):
        record.append(network)
        print(json.dumps({name: value for name, value in network.items() if name != "claims"}), flush=True)
    (options.work / "record.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
