"""Findings against planted truth, in three regimes, models trained fresh, the lone baselines beside every figure.

`python -m tests.benchmarks.truth.bench_truth --seeds 10,11,12 --out build/truth.json`. What each regime plants:
`audit.datasets.planted.REGIMES`. Scenes and models are kept in the folder `--work`, so that another run costs an audit
alone. The score and the rules were chosen on seeds 0, 1 and 2, which a report must not use.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.datasets.planted import REGIMES, draw_planted
from audit.findings import Findings, Rules
from audit.models import load_classifier
from pipelines.cli.doctor import examine
from pipelines.planted.truth import audit_planted, compare, reliance, train_on_planted
from pipelines.run.config import ClusterConfig
from pipelines.terminal import TerminalProgress, notices
from tests.benchmarks.truth.agreement import RECALLS, mean_agreement
from tests.benchmarks.truth.causes import (
    MEASURES,
    WAYS,
    Causes,
    look_for_causes,
    outcome_counts,
    shortcuts_found,
    target_counts,
    within,
)

_LEARNT: dict[str, Any] = {"epochs": 10, "learning_rate": 1e-3, "batch_size": 32}
TRAINING: dict[str, dict[str, Any]] = {"strong": {"epochs": 8}, "mixed": _LEARNT, "clean": _LEARNT}
"""`strong` trains as the demo does: longer, at a lower rate, a network learns the disc's shape beside its watermark."""

QUARTILES = 4


@dataclass(frozen=True)
class Trial:
    """One regime with one seed.

    Attributes:
        found: what `pipelines.planted.truth.compare` returns.
        table: what `pipelines.planted.truth.reliance` returns, with `kind`, the kind of the target's finding or None.
        causes: claims, interventions and clusters beside the truth.
    """

    regime: str
    seed: int
    found: dict[str, Any]
    table: pd.DataFrame
    causes: Causes


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        met: whether what was reached is what was to reach; None for a baseline.
    """

    what: str
    to_reach: str
    reached: str
    met: bool | None = None


def run_trial(regime: str, seed: int, work: Path) -> Trial:
    """Draw and train unless that was done before, audit, compare. In `clean` the scenes without cues are audited."""
    spec, folder = replace(REGIMES[regime], seed=seed), work / f"{regime}-{seed}"
    scenes, model = folder / "scenes", folder / "scenes" / "model.pt"
    progress = TerminalProgress()
    if not model.exists():
        draw_planted(scenes, spec, progress)
        train_on_planted(scenes, spec, **TRAINING[regime], progress=progress)
    shown = "twins" if regime == "clean" else "val"
    run = audit_planted(scenes, model, folder / "run", ClusterConfig(2, compiling="never"), shown, progress)
    classifier = load_classifier(str(model))
    kinds = Findings(run).targets().select(["sample", "slot", "kind"]).to_pandas()
    table = reliance(run, scenes, classifier, shown).merge(kinds, on=["sample", "slot"], how="left")
    notices.print("intervening")
    causes = look_for_causes(run, classifier, table, with_cues=regime != "clean")
    return Trial(regime, seed, compare(run, scenes, classifier, shown), table, causes)


def void_rows(trials: Sequence[Trial]) -> Iterator[Row]:
    """Whether the classes without a cue were learnt, without which nothing else means anything."""
    for regime, own in _by_regime(trials):
        least = min(row["accuracy_without_cue"] for t in own for row in t.found["classes"] if row["cue"] is None)
        yield Row(f"{regime}: least accuracy of a class without a cue", "> 0.9", f"{least:.3f}", least > 0.9)


def strong_rows(trials: Sequence[Trial]) -> Iterator[Row]:
    """Every planted shortcut found, no class without any accused, and the image score in order."""
    own = [trial for trial in trials if trial.regime == "strong"]
    if not own:
        return
    classes = [row for trial in own for row in trial.found["classes"]]
    cued = [row["finding"] for row in classes if row["cue"]]
    plain = [row["finding"] for row in classes if not row["cue"]]
    yield Row("strong: planted shortcuts found", "all", f"{sum(cued)} of {len(cued)}", all(cued))
    yield Row("strong: classes without any accused", "none", f"{sum(plain)} of {len(plain)}", not any(plain))
    yield from _ranking_rows("strong: AUROC", 0.99, own, "auroc")


def mixed_rows(trials: Sequence[Trial]) -> Iterator[Row]:
    """Whether what findings are ranked by tells the images of one class apart."""
    own = [trial for trial in trials if trial.regime == "mixed"]
    if not own:
        return
    shares = [row["relies"] for trial in own for row in trial.found["classes"] if row["cue"]]
    divided = all(0.25 <= share <= 0.75 for share in shares)
    yield Row("mixed: share of a class that relies on its cue", "0.25 to 0.75", _span(shares), divided)
    yield from _ranking_rows("mixed: AUROC within each class", 0.97, own, "auroc_within")


def clean_rows(trials: Sequence[Trial]) -> Iterator[Row]:
    """No class accused, few targets flagged, small objects as rarely as large ones."""
    own = [trial for trial in trials if trial.regime == "clean"]
    if not own:
        return
    accused = [row["class"] for trial in own for row in trial.found["classes"] if row["finding"]]
    yield Row("clean: findings at class level", "none", str(len(accused)), not accused)
    table = pd.concat([trial.table for trial in own])
    confident = table[table["probability"] >= Rules().confident]
    level = Rules().fdr
    for name, flagged in (("", confident["kind"].notna()), (", by energy below 0.5", _half_off(confident))):
        rate, met = float(flagged.mean()), None if name else bool(flagged.mean() <= level)
        yield Row(f"clean: share of confident targets flagged{name}", "" if name else f"<= {level}", f"{rate:.4f}", met)
        rates, ratio = size_rates(confident["area"].to_numpy(), flagged.to_numpy())
        reached = f"{ratio:.2f} (by quartile {', '.join(f'{rate:.3f}' for rate in rates)})"
        what = f"clean: flag rate, smallest against largest objects{name}"
        yield Row(what, "" if name else "<= 1.5", reached, None if name else ratio <= 1.5)


def claim_rows(trials: Sequence[Trial]) -> Iterator[Row]:
    """Which classes have a claim of any kind, by regime."""
    for regime, own in _by_regime(trials):
        counts = [shortcuts_found(trial.causes) for trial in own]
        accused = [name for _, _, names in counts for name in names]
        if regime != "clean":
            found, planted = sum(count[0] for count in counts), sum(count[1] for count in counts)
            yield Row(
                f"{regime}: classes with a cue that a claim is about", "all", f"{found} of {planted}", found == planted
            )
        reached = f"{len(accused)} {', '.join(accused)}".strip()
        yield Row(f"{regime}: claims about classes without a cue", "none", reached, not accused)


def cause_rows(trials: Sequence[Trial]) -> Iterator[Row]:
    """Whether interventions tell images apart, and whether what they confirm or refute is true."""
    mixed = [trial.causes for trial in trials if trial.regime == "mixed"]
    for measure in MEASURES if mixed else ():
        values = [within(causes, measure) for causes in mixed]
        judged = measure == "reliance"
        what = f"mixed: AUROC within each class, by intervention: {measure}"
        yield Row(what, ">= 0.9" if judged else "", _span(values), min(values) >= 0.9 if judged else None)
    everything = [trial.causes for trial in trials]
    for outcome, to_reach in (("confirmed", "all causal"), ("refuted", "none causal")):
        count, causal, wrong = outcome_counts(everything, outcome)
        reached = f"{causal} of {count} causal {', '.join(wrong)}".strip()
        yield Row(f"claims {outcome}", to_reach, reached, not wrong)
        targets, relying = target_counts(everything, outcome)
        yield Row(f"flagged targets {outcome}", "", f"{relying} of {targets} rely on a cue")


def cluster_rows(trials: Sequence[Trial]) -> Iterator[Row]:
    """Whether clusters tell which images of a class rely: ours beside SpRAy's, bins of energy and chance."""
    measures = ("adjusted Rand index", *(f"purity at a recall of {recall}" for recall in RECALLS))
    for regime, own in _by_regime([trial for trial in trials if trial.regime != "clean"]):
        found = [ways for trial in own for ways in trial.causes.agreements.values()]
        values = {way: mean_agreement(found, way) for way in WAYS}
        for place, measure in enumerate(measures):
            best = max(row[place] for way, row in values.items() if way.startswith("SpRAy"))
            for way, row in values.items():
                judged = way == "ours" and regime == "mixed"
                met = bool(row[place] > best) if judged else None
                to_reach = "above SpRAy" if judged else ""
                yield Row(f"{regime}: clusters, {measure}, {way}", to_reach, f"{row[place]:.3f}", met)


SECTIONS: tuple[Callable[[Sequence[Trial]], Iterator[Row]], ...] = (
    void_rows,
    strong_rows,
    mixed_rows,
    clean_rows,
    claim_rows,
    cause_rows,
    cluster_rows,
)
"""Each makes its rows from all trials. What else is to be measured against the truth is one more of them."""


def size_rates(area: np.ndarray, flagged: np.ndarray) -> tuple[list[float], float]:
    """Share flagged in each quarter of the targets by size of their object, and the smallest quarter's over the last's.

    The ratio is 1 where neither is ever flagged, infinite where the last alone is not.
    """
    quarters = np.array_split(np.argsort(area, kind="stable"), QUARTILES)
    rates = [float(flagged[quarter].mean()) for quarter in quarters]
    if rates[-1] == 0:
        return rates, 1.0 if rates[0] == 0 else float("inf")
    return rates, rates[0] / rates[-1]


def markdown(rows: Sequence[Row]) -> str:
    """The report as a table."""
    lines = ["| what | to reach | reached | |", "| --- | --- | --- | --- |"]
    marks = {True: "met", False: "missed", None: ""}
    return "\n".join([*lines, *(f"| {row.what} | {row.to_reach} | {row.reached} | {marks[row.met]} |" for row in rows)])


def _ranking_rows(what: str, least: float, trials: Sequence[Trial], key: str) -> Iterator[Row]:
    """The suspicion's figure on its worst seed against what is to reach, then each baseline's."""
    for name in trials[0].found[key]:
        values = [trial.found[key][name] for trial in trials if trial.found[key][name] is not None]
        judged = name == "suspicion"
        met = bool(values) and min(values) >= least if judged else None
        yield Row(f"{what}, {name}", f">= {least}" if judged else "", _span(values), met)


def _half_off(table: pd.DataFrame) -> pd.Series:
    """The rule that is unfair to small objects: most of the heat off the object, a tenth of random places as good."""
    return (table["energy"] < 0.5) & (table["p_high"] > 0.1)


def _by_regime(trials: Sequence[Trial]) -> Iterator[tuple[str, list[Trial]]]:
    for regime in dict.fromkeys(trial.regime for trial in trials):
        yield regime, [trial for trial in trials if trial.regime == regime]


def _span(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values) or "undefined"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.truth.bench_truth", description=__doc__)
    parser.add_argument("--seeds", type=_numbers, default=(10, 11, 12), help="as 10,11,12")
    parser.add_argument("--out", type=Path, default=Path("build/truth.json"), help="JSON file to write")
    parser.add_argument("--work", type=Path, default=Path("build/truth"), help="folder of scenes, models and runs")
    parser.add_argument("--only", nargs="+", choices=REGIMES, default=list(REGIMES), help="regimes")
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def main() -> None:
    options = _options()
    trials = []
    for regime in options.only:
        for seed in options.seeds:
            notices.print(f"{regime}, seed {seed}")
            trials.append(run_trial(regime, seed, options.work))
    rows = [row for section in SECTIONS for row in section(trials)]
    found = [
        {"regime": trial.regime, "seed": trial.seed, "claims": trial.causes.claims, **trial.found} for trial in trials
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": examine(), "rows": [asdict(row) for row in rows], "trials": found}
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(markdown(rows))


if __name__ == "__main__":
    main()
