"""Interventions on a run's flagged targets and their controls: is what the maps show the cause?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from audit.attribution.taps import evaluating
from audit.errors import ImageError, RunError
from audit.findings.causes import Drops, cause, outcome
from audit.findings.interventions import Region, at_input, change, object_with_rim, widened
from audit.models import Classifier
from audit.store import Run, layout
from audit.store.tables import read_table, write_table
from audit.views import View, upsample
from pipelines.asked import Verification
from pipelines.backgrounds import Background, choose_backgrounds, gather_backgrounds, known_objects
from pipelines.faithfulness import draw_targets
from pipelines.inputs import Input, class_probabilities, read_input
from pipelines.progress import sample_bar
from pipelines.random_weights import compare_with_random
from pipelines.suspects import draw_suspects, with_files
from pipelines.tried import Tried

Progress = Callable[[int, int], None]


def verify_run(run: Run, classifier: Classifier, asked: Verification) -> dict[str, Any]:
    """Intervene on a run's suspects, and compare its scores with those of random weights.

    Raises:
        RunError: nothing is flagged, none of the images can be read as it was, or outputs are no probabilities.
    """
    suspects = draw_suspects(run, asked.sample)
    with sample_bar("verifying", len(suspects)) as bar:
        record = verify(run, classifier, asked, suspects, bar.advance)
    return record | {"random_weights": _random_weights(run, classifier, asked) if _objects_known(run) else None}


def _objects_known(run: Run) -> bool:
    parts = (run.read("scores", shard, ["status"])["status"] for shard in run.done() if run.has_scores(shard))
    return any("scored" in part.unique().to_pylist() for part in parts)


def _random_weights(run: Run, classifier: Classifier, asked: Verification) -> dict[str, Any]:
    targets = draw_targets(run, asked.sample, asked.seed, scored=True)
    try:
        with sample_bar("random weights", len(targets)) as bar:
            return compare_with_random(run, classifier, targets, asked.seed, asked.batch_size, bar.advance)
    except RunError as error:  # the interventions are written, and stand without it
        return {"says": str(error)}


def verify(
    run: Run,
    classifier: Classifier,
    asked: Verification,
    targets: pd.DataFrame,
    progress: Progress = lambda _done, _failed: None,
) -> dict[str, Any]:
    """Intervene on targets, write `findings/effects.parquet` and `findings/causes.parquet`, and return what they say.

    Args:
        classifier: that the run was made with.
        targets: of `draw_suspects`.
        progress: called with targets done, and failed among them.

    Raises:
        RunError: none of the images can be read as it was, or outputs are no probabilities.
    """
    if classifier.activation == "none":
        raise RunError(f"Expected probabilities to verify, but the outputs of {run.path} are other values (none)")
    effects, failed = [], []
    with evaluating(classifier.module):
        backgrounds = gather_backgrounds(run, classifier, set(targets["class_id"].tolist()), asked.seed)
        for target in with_files(run, targets):
            try:
                drops = intervene(run, classifier, asked, target, backgrounds)
            except ImageError as error:
                failed.append({"id": target["id"], "reason": str(error)})
                progress(1, 1)
                continue
            effects.append({**target, **_effect(drops)})
            progress(1, 0)
    if not effects:
        raise RunError(f"None of the images drawn from {run.path} can be read as it was; first: {failed[0]['reason']}")
    table = pd.DataFrame(effects)
    path = run.path / layout.FINDINGS / layout.EFFECTS
    write_table(path, {name: table[name] for name in layout.EFFECT.names}, layout.EFFECT)
    return _record(asked, table, _write_causes(run, table, asked.seed), failed)


def _write_causes(run: Run, table: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    """Rows of `audit.store.layout.CAUSE`, written."""
    claims = found_claims(run)
    floor, tried = _floor(table, claims), Tried.of(run, table)
    causes = [_cause(tried, claim, floor, seed) for claim in claims if _of_the_background(claim)]
    columns = {name: [one[name] for one in causes] for name in layout.CAUSE.names}
    write_table(run.path / layout.FINDINGS / layout.CAUSES, columns, layout.CAUSE)
    return causes


def intervene(
    run: Run, classifier: Classifier, asked: Verification, target: Mapping[str, Any], backgrounds: list[Background]
) -> Drops:
    """What interventions do to one target's probability.

    Raises:
        ImageError: its image cannot be read, or is another than the run saw.
    """
    row, slot, class_id = target["sample"], target["slot"], target["class_id"]
    found = read_input(run, classifier, row, target["digest"])
    size = found.image.shape[1]
    rng = np.random.default_rng([asked.seed, row, slot])
    stored = run.maps(row, row + 1)[0, slot].astype(np.float32)
    heat = upsample(np.maximum(stored, 0), View(0, 0, size, size), size, size)
    others = choose_backgrounds(backgrounds, class_id, row, rng)
    changed = change(found.image, heat, _object(run, found, class_id), others, asked.fill, rng)
    whole, *answers = class_probabilities(classifier, [found.image, *changed.inputs()], class_id, asked.batch_size)
    return changed.drops(float(whole), np.array(answers))


def _object(run: Run, found: Input, class_id: int) -> Region | None:
    """The target's object with its rim at the network's input; None where none is known, or seen."""
    mask = known_objects(run, found).mask
    if mask is None:
        return None
    seen = at_input(object_with_rim(mask, class_id), found.view, found.image.shape[1])
    return widened(seen) if seen.any() else None


def _effect(drops: Drops) -> dict[str, Any]:
    return {
        "probability": drops.probability,
        **{name: drops.mean(name) for name in ("hot", "random", "object")},
        "background": drops.background,
        "reliance": drops.reliance,
        "outcome": outcome(drops),
    }


def found_claims(run: Run) -> list[dict[str, Any]]:
    """Findings about more than one target: finding, kind, class_id, class, subject and details (JSON)."""
    path = run.path / layout.FINDINGS / layout.CLAIMS
    columns = ["finding", "kind", "class_id", "class", "subject", "found", "details"]
    return [row for row in read_table(path, columns).to_pylist() if row["found"]] if path.exists() else []


def _of_the_background(claim: Mapping[str, Any]) -> bool:
    """Whether interventions can tell: that a group is named wrongly more often says nothing about where heat lies."""
    return claim["kind"] != "group" or bool(json.loads(claim["details"])["measure"] != "wrong")


def _floor(table: pd.DataFrame, claims: Sequence[Mapping[str, Any]]) -> float:
    """Mean reliance of the controls of classes that nothing is found about; NaN without any."""
    accused = {claim["class_id"] for claim in claims}
    return float(table.loc[(table["role"] == "control") & ~table["class_id"].isin(accused), "reliance"].mean())


def _cause(tried: Tried, claim: Mapping[str, Any], floor: float, seed: int) -> dict[str, Any]:
    """A row of `audit.store.layout.CAUSE`."""
    table = tried.table
    about = (table["role"] == "flagged") & tried.show(claim)
    controls = table[table["place"].isin(table.loc[about, "control"]) & (table["role"] == "control")]
    own, other = (rows["reliance"].dropna().to_numpy() for rows in (table[about], controls))
    return {"finding": claim["finding"], **asdict(cause(own, other, claim["class"], floor, seed))}


def _record(
    asked: Verification, table: pd.DataFrame, causes: list[dict[str, Any]], failed: list[dict[str, str]]
) -> dict[str, Any]:
    """What `camaudit verify --json` prints."""
    roles = {str(role): own for role, own in table.groupby("role")}
    outcomes = {name: {k: int(n) for k, n in own["outcome"].value_counts().items()} for name, own in roles.items()}
    return {**asdict(asked), "targets": len(table), "outcomes": outcomes, "failed": failed, "causes": causes}
