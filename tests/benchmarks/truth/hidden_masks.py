"""What a detector states of targets whose masks were put aside, and what the masks say: over tables of a run alone.

python -m tests.benchmarks.truth.hidden_masks RUN
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.findings import Rules
from audit.findings.detector import Detector, fit_detector, target_features
from audit.findings.evidence.frame import HEAT, heat_by_cell
from audit.findings.evidence.gather import KEPT, gather
from audit.findings.judge import judge
from audit.store import Run

DRAWS = 20
SHARES = {"alike": (0.5, 0.5), "fewer off": (0.25, 0.65), "more off": (0.7, 0.4)}
"""Name -> share of the masks put aside, of images off the object and of the others."""


def named_targets(run: Run) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]:
    """Features, whether off the object, and image of each confidently named target of a run with masks."""
    shards = run.done()
    gathered = gather(run, shards)
    targets = gathered.targets[gathered.targets["known"]]
    off = judge(targets, Rules())["kind"].notna().to_numpy()
    parts = []
    for shard in shards:
        table = run.read("scores", shard, ["status", *HEAT])
        parts.append(heat_by_cell(table)[np.isin(table["status"].to_numpy(), KEPT)])
    heat = np.concatenate(parts)[targets.index]
    columns = (targets[name].to_numpy() for name in ("probability", "class_id"))
    features = target_features(heat, *columns, len(run.classes))
    named = targets["probability"].to_numpy() >= Rules().confident
    return features[named], off[named], pd.factorize(targets["look"])[0][named]


def hidden(run: Run) -> Iterator[dict[str, object]]:
    """A row a draw: what is stated, and what the masks put aside say."""
    features, off, image = named_targets(run)
    for name, shares in SHARES.items():
        for seed in range(DRAWS):
            aside = np.random.default_rng(seed).random(len(off)) < np.where(off, *shares)
            detector = fit_detector(features[~aside], off[~aside], image[~aside], features[aside])
            row: dict[str, object] = {"parts": name, "masked off": off[~aside].mean(), "off": off[aside].mean()}
            if isinstance(detector, Detector):
                flagged = detector.flag(features[aside])
                shown = (flagged & off[aside]).sum() / flagged.sum()
                stated = detector.precision
                row |= {"flagged": flagged.sum(), "shown": shown, "stated": stated.value, "low": stated.low}
                row |= {"high": stated.high, "covered": stated.low <= shown <= stated.high, "recall": detector.recall}
                row |= {"shown recall": (flagged & off[aside]).sum() / off[aside].sum()}
            yield row


def main() -> None:
    """Print means by part, and the first draw of each."""
    table = pd.DataFrame(hidden(Run.open(Path(sys.argv[1]))))
    print(table.groupby("parts").first().to_string())
    table["given"] = table["shown"].notna()
    print(table.drop(columns="recall").groupby("parts").mean(numeric_only=False).to_string())


if __name__ == "__main__":
    main()
