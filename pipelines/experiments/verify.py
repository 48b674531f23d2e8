"""Interventions on a run's flagged targets and their controls: is what the maps show the cause?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from audit.attribution.taps import evaluating
from audit.errors import ImageError, RunError
from audit.findings import Effect, Findings, Outcome
from audit.images import View, upsample
from audit.interventions import (
    Drops,
    Region,
    Tried,
    at_input,
    change,
    claim_outcomes,
    draw_suspects,
    object_with_rim,
    target_outcomes,
    widened,
    with_files,
)
from audit.models import Classifier
from audit.progress import Advanced, Progress, silent, stretch
from audit.store import Run
from pipelines.asked import Verification
from pipelines.experiments.backgrounds import Background, choose_backgrounds, gather_backgrounds, known_objects
from pipelines.experiments.faithfulness import draw_targets
from pipelines.experiments.inputs import Input, class_probabilities, read_input
from pipelines.experiments.random_weights import compare_with_random


def verify_run(run: Run, classifier: Classifier, asked: Verification, progress: Progress = silent) -> dict[str, Any]:
    """Intervene on a run's suspects, and compare its scores with those of random weights.

    Raises:
        RunError: nothing is flagged, none of the images can be read as it was, or outputs are no probabilities.
    """
    record = verify(run, classifier, asked, draw_suspects(run, asked.targets), progress)
    known = _objects_known(run)
    return record | {"random_weights": _random_weights(run, classifier, asked, progress) if known else None}


def _objects_known(run: Run) -> bool:
    parts = (run.read("scores", shard, ["status"])["status"] for shard in run.done() if run.has_scores(shard))
    return any("scored" in part.unique().to_pylist() for part in parts)


def _random_weights(run: Run, classifier: Classifier, asked: Verification, progress: Progress) -> dict[str, Any]:
    targets = draw_targets(run, asked.targets, asked.seed, scored=True)
    try:
        return compare_with_random(run, classifier, targets, asked.seed, asked.batch_size, progress)
    except RunError as error:  # the interventions are written, and stand without it
        return {"says": str(error)}


def verify(
    run: Run,
    classifier: Classifier,
    asked: Verification,
    targets: pd.DataFrame,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Intervene on targets, write `findings/effects.parquet` and `findings/causes.parquet`, and return what they say.

    Args:
        classifier: that the run was made with.
        targets: of `draw_suspects`.

    Raises:
        RunError: none of the images can be read as it was, or outputs are no probabilities.
    """
    if classifier.activation == "none":
        raise RunError(f"Expected probabilities to verify, but the outputs of {run.path} are other values (none)")
    effects, failed = Trials(run, classifier, asked).on(targets, progress)
    if not effects:
        raise RunError(f"None of the images drawn from {run.path} can be read as it was; first: {failed[0]['reason']}")
    findings = Findings(run)
    tried = Tried.read(findings, pd.DataFrame(effects))
    accused = {claim.class_id for claim in findings.standing_claims()}
    table = tried.table.assign(outcome=target_outcomes(tried, accused))
    outcomes = claim_outcomes(findings, tried, asked.seed)
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    findings.write_outcomes(map(Effect.from_row, rows), outcomes)
    return _record(asked, table, outcomes, failed)


@dataclass(frozen=True)
class Trials:
    """Interventions on targets of a run, by the classifier that the run was made with."""

    run: Run
    classifier: Classifier
    asked: Verification

    def on(
        self, targets: pd.DataFrame, progress: Progress = silent
    ) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """What they do to each target, and the targets whose image cannot be read, with the reason."""
        effects, failed = [], []
        with evaluating(self.classifier.module), stretch(progress, "verifying", len(targets)):
            class_ids = set(targets["class_id"].tolist())
            backgrounds = gather_backgrounds(self.run, self.classifier, class_ids, self.asked.seed)
            for target in with_files(self.run, targets):
                try:
                    effects.append({**target, **_effect(self.intervene(target, backgrounds))})
                    progress(Advanced())
                except ImageError as error:
                    failed.append({"id": target["id"], "reason": str(error)})
                    progress(Advanced(failed=1))
        return effects, failed

    def intervene(self, target: Mapping[str, Any], backgrounds: list[Background]) -> Drops:
        """What interventions do to one target's probability.

        Raises:
            ImageError: its image cannot be read, or is another than the run saw.
        """
        row, slot, class_id = target["sample"], target["slot"], target["class_id"]
        entry = read_input(self.run, self.classifier, row, target["digest"])
        size = entry.image.shape[1]
        rng = np.random.default_rng([self.asked.seed, row, slot])
        stored = self.run.maps(row, row + 1)[0, slot].astype(np.float32)
        heat = upsample(np.maximum(stored, 0), View(0, 0, size, size), size, size)
        chosen = choose_backgrounds(backgrounds, class_id, row, rng)
        changed = change(entry.image, heat, self._object(entry, class_id), chosen, self.asked.fill, rng)
        inputs = [entry.image, *changed.inputs()]
        whole, *answers = class_probabilities(self.classifier, inputs, class_id, self.asked.batch_size)
        return changed.drops(float(whole), np.array(answers))

    def _object(self, entry: Input, class_id: int) -> Region | None:
        """The target's object with its rim at the network's input; None where none is known, or seen."""
        mask = known_objects(self.run, entry).mask
        if mask is None:
            return None
        region = at_input(object_with_rim(mask, class_id), entry.view, entry.image.shape[1])
        return widened(region) if region.any() else None


def _effect(drops: Drops) -> dict[str, Any]:
    return {
        "probability": drops.probability,
        **{name: drops.mean(name) for name in ("hot", "random", "object")},
        **{name: getattr(drops, name) for name in ("foreign", "background", "colour", "reliance")},
    }


def _record(
    asked: Verification, table: pd.DataFrame, outcomes: Sequence[Outcome], failed: list[dict[str, str]]
) -> dict[str, Any]:
    """What `camaudit verify --json` prints; `asked` are flagged targets at most, `targets` were tried, controls too."""
    arms = {str(arm): rows["outcome"].value_counts() for arm, rows in table.groupby("arm")}
    return {
        "fill": asked.fill,
        "seed": asked.seed,
        "batch_size": asked.batch_size,
        "asked": asked.targets,
        "targets": len(table),
        "outcomes": {arm: {name: int(count) for name, count in counts.items()} for arm, counts in arms.items()},
        "failed": failed,
        "causes": [outcome.plain() for outcome in outcomes],
    }
