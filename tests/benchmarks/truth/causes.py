"""Claims, interventions and clusters held against planted truth: sections of `tests.benchmarks.truth.bench_truth`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.errors import RunError
from audit.findings import Claim, Effect, Findings
from audit.interventions.tried import share_lost
from audit.models import Classifier
from audit.scores import auroc
from audit.store import Run, layout
from audit.store.tables.parts import read_table
from pipelines.experiments.verify import Verification, verify, verify_run
from pipelines.planted.truth import RELIES
from tests.benchmarks.truth.agreement import BINS, Agreement, agreement, plain_ways
from tests.benchmarks.truth.spray import COUNTS, spray

_MEASURES = ("reliance", "background", "hot")
_KEYS = ["sample", "slot"]


@dataclass(frozen=True)
class Causes:
    """What a trial's run says beyond its targets, beside the truth.

    Attributes:
        claims: found ones, each with the `outcome` of interventions, `causal` (whether at least half of the images it
            was tried on lose half of their probability with the cue) and `planted` (whether its class has one).
        effects: of all targets of classes with a cue, with their `reliance_true`; empty where no cue was planted.
        suspects: of flagged targets, as `camaudit verify` draws them, with their `reliance_true`.
        agreements: by class with a cue and each of `WAYS`, of clusters with which images rely.
    """

    claims: list[dict[str, Any]]
    effects: pd.DataFrame
    suspects: pd.DataFrame
    agreements: Mapping[str, Mapping[str, Agreement | None]]


def look_for_causes(run: Run, classifier: Classifier, table: pd.DataFrame, with_cues: bool) -> Causes:
    """Verify a run, and hold what comes out against the reliance that `pipelines.planted.truth.reliance` measured."""
    truth = table[[*_KEYS, "class", "cue", "reliance"]].rename(columns={"reliance": "reliance_true"})
    cued = table[table["cue"].notna() & table["probability"].notna()] if with_cues else table.iloc[:0]
    effects = _effects_on(run, classifier, cued).merge(truth.drop(columns="class"), on=_KEYS)
    try:
        verify_run(run, classifier, Verification())
        suspects = _written(run).merge(truth.drop(columns="class"), on=_KEYS)
    except RunError:  # nothing is flagged
        suspects = effects.iloc[:0]
    claims = [_judged(run, claim, suspects, truth) for claim in Findings(run).standing_claims()]
    return Causes(claims, effects, suspects, dict(_agreements(run, cued)))


def _effects_on(run: Run, classifier: Classifier, targets: pd.DataFrame) -> pd.DataFrame:
    """Interventions on targets of the bench's choice."""
    if targets.empty:
        return pd.DataFrame(columns=Effect.schema().names)
    ids = [run.classes.index(name) for name in targets["class"]]
    rows = targets[[*_KEYS, "probability"]].astype({"sample": int, "slot": int}).reset_index(drop=True)
    verify(run, classifier, Verification(), rows.assign(class_id=ids, severity=0.0, arm="flagged", control=-1))
    return _written(run)


def _written(run: Run) -> pd.DataFrame:
    return read_table(run.path / layout.FINDINGS / layout.EFFECTS).to_pandas()


def _judged(run: Run, claim: Claim, suspects: pd.DataFrame, truth: pd.DataFrame) -> dict[str, Any]:
    tried = suspects[(suspects["arm"] == "flagged") & (suspects["class"] == claim.class_name)]
    cues = truth.loc[truth["class"] == claim.class_name, "cue"]
    names = ("claim_id", "kind", "class", "subject", "share", "q", "outcome", "says")
    plain, outcome = claim.plain(), Findings(run).outcomes().get(claim.claim_id)
    return {
        **{name: plain[name] for name in names},
        "planted": bool(cues.notna().any()),
        "causal": bool(len(tried)) and bool(_relies(tried).mean() >= 0.5),
        "effect": outcome.effect if outcome else None,
    }


def _agreements(run: Run, cued: pd.DataFrame) -> Iterator[tuple[str, dict[str, Agreement | None]]]:
    """Of each class with a cue, among the targets named with confidence, which every way may cluster."""
    members = Findings(run).members().to_pandas()
    confident = cued[cued["probability"] >= 0.5].merge(members[[*_KEYS, "cluster"]], on=_KEYS, how="left")
    for name, rows in confident.groupby("class"):
        relies = (rows["reliance"] >= RELIES).to_numpy()
        maps = np.stack(
            [run.maps(row, row + 1)[0, slot] for row, slot in zip(rows["sample"], rows["slot"], strict=True)]
        )
        labels = {"ours": rows["cluster"].fillna(-1).to_numpy(int)}
        labels |= {f"SpRAy, {count} clusters": spray(maps, count) for count in COUNTS}
        labels |= plain_ways(rows["energy"].fillna(0).to_numpy(float))
        yield str(name), {way: agreement(own, relies) for way, own in labels.items()}


def shortcuts_found(causes: Causes) -> tuple[int, int, list[str]]:
    """Classes with a cue that a claim is about, how many there are with one, and classes without that are accused."""
    planted = {claim["class"] for claim in causes.claims if claim["planted"]}
    accused = sorted({f"{claim['class']} ({claim['kind']})" for claim in causes.claims if not claim["planted"]})
    return len(planted), len(causes.agreements), accused


def within(causes: Causes, measure: str) -> float:
    """AUROC of an intervention's effect against reliance within each class, averaged."""
    values = []
    for _, rows in causes.effects.groupby("class"):
        relies = (rows["reliance_true"] >= RELIES).to_numpy()
        if 0 < relies.sum() < len(relies):
            values.append(auroc(np.nan_to_num(rows[measure].to_numpy(float)), relies))
    return float(np.mean(values)) if values else float("nan")


def outcome_counts(all_causes: Sequence[Causes], outcome: str) -> tuple[int, int, list[str]]:
    """Claims with an outcome, how many of them are causal, and the names of the others (for refuted: of the causal)."""
    claims = [claim for causes in all_causes for claim in causes.claims if claim["outcome"] == outcome]
    wrong = [claim["claim_id"] for claim in claims if claim["causal"] != (outcome == "confirmed")]
    return len(claims), sum(claim["causal"] for claim in claims), wrong


def target_counts(all_causes: Sequence[Causes], outcome: str) -> tuple[int, int]:
    """Flagged targets with an outcome, and how many of them rely on a cue."""
    rows = pd.concat([causes.suspects for causes in all_causes])
    own = rows[(rows["arm"] == "flagged") & (rows["outcome"] == outcome)]
    return len(own), int(_relies(own).sum())


def _relies(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which targets lose at least half of p(c) with their cue."""
    return np.asarray(share_lost(rows["reliance_true"], rows["probability"]) >= RELIES)


WAYS = (
    "ours",
    *(f"SpRAy, {count} clusters" for count in COUNTS),
    *(f"energy, {count} bins" for count in BINS),
    *(f"random, {count} clusters" for count in BINS),
)
MEASURES = _MEASURES
