"""Does the first channel, or the first concept, of a claim show the cue that was planted? Its patches are judged.

`python -m tests.benchmarks.truth.bench_channels --seeds 20,21,22 --out build/channels.json`. Regimes, scenes and
networks are those of `bench_truth`, whose folder may be named with `--work`. A claim about a class with a cue counts as
shown where at least 7 of the 9 patches of its first channel show the cue. Where the cue is, the scene's own record
tells: of a watermark or a companion half of its box must lie in the patch, of a texture half of the patch must be off
the object. Beside it stands what chance gives: nine random images of the claim, cut out where their heat is highest,
and nine cut out at random places.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from audit.concepts.chosen import targets_of_claim
from audit.concepts.patches import Box, PatchReader, Target
from audit.concepts.ways.registry import WAYS
from audit.concepts.ways.way import ALIKE
from audit.datasets.planted import CUES, REGIMES, draw_planted, read_truth
from audit.findings import Claim, Findings
from audit.findings.claims.registry import kind_of
from audit.store import Run
from pipelines.asked import ConceptSearch
from pipelines.experiments.concepts import find_concepts
from pipelines.experiments.model import model_of_run
from pipelines.planted.truth import audit_planted, train_on_planted
from pipelines.run.config import ClusterConfig
from pipelines.terminal import TerminalProgress
from tests.benchmarks.truth.bench_truth import TRAINING

PATCHES, SHOWN = 9, 7
ASKED = ConceptSearch(count=4, images=100, removals=24)
REGIMES_WITH_CUES = ("strong", "mixed")


@dataclass(frozen=True)
class Judged:
    """A claim about a class with a cue, and in how many patches of each sort the cue is seen.

    Attributes:
        channel: of its first channel; None where it has none.
        concept: by its first concept, by the way that found it.
        cosine: of that with the nearest concept of each other draw of the images, the least, by the same.
        peak, place: of random images of the claim, cut out at the peak of their maps, and at random places.
    """

    regime: str
    seed: int
    claim_id: str
    cue: str
    apart: bool
    patches: int
    channel: int | None
    concept: Mapping[str, int]
    cosine: Mapping[str, float]
    peak: int
    place: int


class Scenes:
    """Where the cue of each audited scene is."""

    def __init__(self, run: Run, scenes: Path) -> None:
        self.run, self.scenes = run, scenes
        self._reader = PatchReader(run)
        self._ids = [sample.id for sample in run.manifest()]
        self._truth: Mapping[str, Any] = read_truth(scenes).set_index("id").to_dict("index")

    def shows(self, target: Target) -> bool:
        """Whether a patch shows the cue."""
        row, box = self._truth[self._ids[target[0]]], self._reader.box(target)
        if pd.isna(row["cue"]):
            return False
        if pd.isna(row["x0"]):  # a texture, over all that is not the object
            return self._off_object(self._ids[target[0]], box) >= 0.5
        cue = Box(*(float(row[name]) for name in ("x0", "y0", "x1", "y1")))
        return overlap(cue, box) >= 0.5

    def _off_object(self, name: str, box: Box) -> float:
        mask = np.asarray(Image.open(self.scenes / "SegmentationClass" / f"{name}.png"))  # indices of a palette
        part = mask[round(box.y0) : round(box.y1), round(box.x0) : round(box.x1)]
        return float((part == 0).mean())


def overlap(cue: Box, patch: Box) -> float:
    """Share of the cue's box that lies in the patch.

    >>> overlap(Box(0, 0, 4, 2), Box(2, 0, 9, 9))
    0.5
    """
    across = max(min(cue.x1, patch.x1) - max(cue.x0, patch.x0), 0)
    down = max(min(cue.y1, patch.y1) - max(cue.y0, patch.y0), 0)
    return across * down / ((cue.x1 - cue.x0) * (cue.y1 - cue.y0))


def audited(regime: str, seed: int, work: Path) -> tuple[Run, Path]:
    """Draw and train unless that was done before, and audit."""
    spec, folder = replace(REGIMES[regime], seed=seed), work / f"{regime}-{seed}"
    scenes, model = folder / "scenes", folder / "scenes" / "model.pt"
    if not model.exists():
        draw_planted(scenes, spec, TerminalProgress())
        train_on_planted(scenes, spec, **TRAINING[regime], progress=TerminalProgress())
    run = audit_planted(scenes, model, folder / "run", ClusterConfig(1, compiling="never"), progress=TerminalProgress())
    return run, scenes


def judge(regime: str, seed: int, run: Run, scenes: Path) -> Iterator[Judged]:
    """Every standing claim about a class with a cue."""
    findings, where, classifier = Findings(run), Scenes(run, scenes), model_of_run(run)
    channels = {row.claim_id: row for row in findings.channels() if row.place == 1}
    for claim in findings.standing_claims():
        if claim.class_name not in CUES:
            continue
        first = channels.get(claim.claim_id)
        targets = [tuple(row) for row in first.patches["targets"]] if first else []
        at_peak, anywhere = random_patches(run, findings, claim)
        chosen, asked = targets_of_claim(findings, claim), {way: replace(ASKED, way=way) for way in WAYS}
        firsts = {way: find_concepts(run, classifier, chosen, asked[way], off=True).concepts[0] for way in WAYS}
        yield Judged(
            regime,
            seed,
            claim.claim_id,
            CUES[claim.class_name],
            bool(first and first.apart),
            sum(map(where.shows, targets)),
            first.channel if first else None,
            {way: sum(map(where.shows, concept.targets)) for way, concept in firsts.items()},
            {way: min(concept.cosine, default=0.0) for way, concept in firsts.items()},
            sum(map(where.shows, at_peak)),
            sum(map(where.shows, anywhere)),
        )


def random_patches(run: Run, findings: Findings, claim: Claim) -> tuple[list[Target], list[Target]]:
    """Nine random targets of the claim, each with the cell of its map's peak, and with a random one."""
    rng = np.random.default_rng(0)
    sample, slot = targets_of(run, findings, claim)
    chosen = rng.permutation(len(sample))[:PATCHES]
    at_peak, anywhere = [], []
    for row, place in zip(sample[chosen].tolist(), slot[chosen].tolist(), strict=True):
        heat = np.nan_to_num(run.maps(row, row + 1)[0, place])
        at_peak.append((row, place, int(heat.argmax())))
        anywhere.append((row, place, int(rng.integers(heat.size))))
    return at_peak, anywhere


def targets_of(run: Run, findings: Findings, claim: Claim) -> tuple[np.ndarray, np.ndarray]:
    """Samples and slots that count for the claim."""
    parts = [kind_of(claim).targets(claim, part.evidence) for part in findings.evidence(run.done())]
    sample, slot = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return sample, slot


def summary(judged: Sequence[Judged]) -> list[dict[str, object]]:
    """Share of claims that are shown, by the first channel or concept and by each baseline, by regime and over all."""
    ways: dict[str, Callable[[Judged], int]] = {
        "first channel": lambda row: row.patches,
        **{f"first concept, {way}": partial(lambda row, way: row.concept[way], way=way) for way in WAYS},
        "random images at their peak": lambda row: row.peak,
        "random images at random places": lambda row: row.place,
    }
    rows: list[dict[str, object]] = []
    for regime in (*dict.fromkeys(row.regime for row in judged), "all"):
        own = [row for row in judged if regime in (row.regime, "all")]
        for way, count in ways.items():
            shown = sum(count(row) >= SHOWN for row in own)
            mean = float(np.mean([count(row) for row in own])) if own else float("nan")
            rows.append({"regime": regime, "patches": way, "claims": len(own), "shown": shown, "mean": round(mean, 2)})
        for way in WAYS:
            same, what = sum(row.cosine[way] > ALIKE for row in own), f"first concept the same, {way}"
            rows.append({"regime": regime, "patches": what, "claims": len(own), "shown": same})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="20,21,22", help="as 20,21,22")
    parser.add_argument("--only", nargs="+", choices=REGIMES_WITH_CUES, default=list(REGIMES_WITH_CUES))
    parser.add_argument("--out", type=Path, default=Path("build/channels.json"))
    parser.add_argument("--work", type=Path, default=Path("build/truth"))
    options = parser.parse_args()
    judged: list[Judged] = []
    for regime in options.only:
        for seed in map(int, options.seeds.split(",")):
            judged += judge(regime, seed, *audited(regime, seed, options.work))
    rows = summary(judged)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"rows": rows, "claims": [asdict(row) for row in judged]}, indent=1) + "\n")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
