"""What oddness ranks first where masks are hidden from it, and what the masks say: over tables of a run alone.

python -m tests.benchmarks.truth.hidden_objects RUN

The run has masks. Oddness is made from the heat, the answers and the labels, as if it had none, so without the
quick check. A target is off its object where the masks bring a finding about it. Ranked are the targets that are
named with confidence. Intervals are of images drawn again with repeats.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.findings import Rules
from audit.findings.evidence.frame import HEAT, heat_by_cell
from audit.findings.evidence.gather import KEPT, gather
from audit.findings.judge import judge
from audit.findings.pages.oddness import rank_without_masks, shares_of_heat
from audit.scores import auroc
from audit.store import Run

DRAWS = 2000
ODDNESS = "oddness"


def ranked_targets(run: Run) -> pd.DataFrame:
    """A row for each confidently named target with a known object.

    Columns: `image`, a number; `off`, whether the masks bring a finding; `energy`, the share of heat on the object; and
    what it may be ranked by, all higher for odder.
    """
    gathered = gather(run, run.done())
    targets = gathered.targets[gathered.targets["known"]]
    heat = np.concatenate([_heat(run, index) for index in range(len(run.shards))])[targets.index]
    class_id, probability, wrong = (targets[name].to_numpy() for name in ("class_id", "probability", "wrong"))
    odd = rank_without_masks(heat, class_id, probability, wrong, np.full(len(targets), np.nan))
    border, _, entropy = shares_of_heat(heat)
    table = pd.DataFrame(
        {
            "image": pd.factorize(targets["look"])[0],
            "off": judge(targets, Rules())["kind"].notna().to_numpy(),
            "energy": targets["energy"].to_numpy(),
            ODDNESS: odd.oddness,
            "place": odd.place,
            "heat at the border": border,
            "entropy of the heat": entropy,
            "1 - probability": 1 - probability,
            "a wrong answer, by its probability": wrong * probability,
        }
    )
    return table[probability >= Rules().confident].reset_index(drop=True)


def _heat(run: Run, index: int) -> NDArray[np.float32]:
    """[n, 64] of the targets of a shard that are gathered."""
    table = run.read("scores", run.shards[index], ["status", *HEAT])
    return heat_by_cell(table).astype(np.float32)[np.isin(table["status"].to_numpy(), KEPT)]


def aurocs(targets: pd.DataFrame, off: NDArray[np.bool_], draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """AUROC of each ranking against `off`, its 95 % interval, and how much more oddness has, with its interval."""
    rng, images = np.random.default_rng(seed), targets.groupby("image").indices
    names, places = list(targets.columns[3:]), list(images.values())
    values = {name: targets[name].to_numpy() for name in names}

    def of(rows: NDArray[np.intp]) -> list[float]:
        return [auroc(values[name][rows], off[rows]) for name in names]

    drawn = (rng.integers(0, len(places), len(places)) for _ in range(draws))
    again = np.array([of(np.concatenate([places[place] for place in chosen])) for chosen in drawn])
    whole = np.array(of(np.arange(len(targets))))
    first = names.index(ODDNESS)
    (low, high), (less, more) = (
        np.nanpercentile(spread, (2.5, 97.5), axis=0) for spread in (again, again[:, [first]] - again)
    )
    columns = {"auroc": whole, "low": low, "high": high, "behind": whole[first] - whole, "least": less, "most": more}
    return pd.DataFrame(columns, index=names)


def main() -> None:
    """Print both truths: a finding, and most heat off the object."""
    targets = ranked_targets(Run.open(Path(sys.argv[1])))
    for what, off in {"a finding": targets["off"], "most heat off the object": targets["energy"] < 0.5}.items():
        print(f"{what}: {off.sum()} of {len(targets)} targets, of {targets['image'].nunique()} images")
        print(aurocs(targets, off.to_numpy()).round(3).to_string())


if __name__ == "__main__":
    main()
