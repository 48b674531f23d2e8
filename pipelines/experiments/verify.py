"""Interventions on a run's flagged targets and their controls: is what the maps show the cause?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from audit.errors import RunError
from audit.findings import Effect, Findings, Outcome
from audit.findings.writing import FindingsWriter
from audit.interventions import (
    Drops,
    Region,
    Tried,
    change,
    claim_outcomes,
    draw_suspects,
    heat_at_input,
    kept_region,
    target_outcomes,
    with_files,
)
from audit.models import Classifier
from audit.progress import Progress, silent, stretch
from audit.store import Run
from pipelines.asked import Verification
from pipelines.experiments.backgrounds import Background, choose_backgrounds, gather_backgrounds, target_mask
from pipelines.experiments.faithfulness import draw_targets
from pipelines.experiments.inputs import Input, asked_of, class_probabilities, read_input
from pipelines.experiments.random_weights import compare_with_random
from pipelines.experiments.spread import Ask, Spread, Unread, failures, in_this_process


def verify_run(
    run: Run,
    classifier: Classifier,
    asked: Verification,
    progress: Progress = silent,
    spread: Spread = in_this_process,
) -> dict[str, Any]:
    """Intervene on a run's suspects, and compare its scores with those of random weights, which this process does.

    Args:
        spread: who intervenes.

    Raises:
        RunError: nothing is flagged, none of the images can be read as it was, or outputs are no probabilities.
    """
    record = verify(run, classifier, asked, draw_suspects(run, asked.targets), progress, spread)
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
    spread: Spread = in_this_process,
) -> dict[str, Any]:
    """Intervene on targets, write `findings/effects.parquet` and `findings/causes.parquet`, and return what they say.

    Args:
        classifier: that the run was made with.
        targets: of `draw_suspects`.
        spread: who intervenes.

    Raises:
        RunError: none of the images can be read as it was, or outputs are no probabilities.
    """
    if classifier.activation == "none":
        raise RunError(f"Expected probabilities to verify, but the outputs of {run.path} are other values (none)")
    effects, failed = _try(run, classifier, asked, targets, progress, spread)
    if not effects:
        raise RunError(f"None of the images drawn from {run.path} can be read as it was; first: {failed[0]['reason']}")
    findings = Findings(run)
    tried = Tried.read(findings, pd.DataFrame(effects))
    accused = {claim.class_id for claim in findings.standing_claims()}
    table = tried.table.assign(outcome=target_outcomes(tried, accused))
    outcomes = claim_outcomes(findings, tried, asked.seed)
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    FindingsWriter.beside(findings).write_outcomes(map(Effect.from_row, rows), outcomes)
    return _record(asked, table, outcomes, failed)


def _try(
    run: Run, classifier: Classifier, asked: Verification, targets: pd.DataFrame, progress: Progress, spread: Spread
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """What interventions do to each target, and the targets whose image cannot be read, with the reason."""
    begin = partial(_begin, asked, frozenset(targets["class_id"].tolist()))
    rows = list(with_files(run, targets))
    with stretch(progress, "verifying", len(rows)):
        answers = spread(begin, run, classifier, rows, progress)
    pairs = zip(rows, answers, strict=True)
    effects = [{**row, **_effect(answer)} for row, answer in pairs if not isinstance(answer, Unread)]
    return effects, failures(rows, answers)


def _begin(asked: Verification, class_ids: frozenset[int], run: Run, classifier: Classifier) -> Ask:
    """What intervenes on a target of one of the classes; every process gathers the same backgrounds."""
    backgrounds = gather_backgrounds(run, classifier, class_ids, asked.seed)
    return partial(Trials(run, classifier, asked).intervene, backgrounds=backgrounds)


@dataclass(frozen=True)
class Trials:
    """Interventions on targets of a run, by the classifier that the run was made with."""

    run: Run
    classifier: Classifier
    asked: Verification

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
        heat = heat_at_input(stored, size)
        chosen = choose_backgrounds(backgrounds, class_id, row, rng)
        changed = change(entry.image, heat, self._object(entry, target), chosen, self.asked.fill, rng)
        inputs = [entry.image, *changed.inputs()]
        about = asked_of(self.run, target)
        whole, *answers = class_probabilities(self.classifier, inputs, entry.given, about, self.asked.batch_size)
        return changed.drops(float(whole), np.array(answers))

    def _object(self, entry: Input, target: Mapping[str, Any]) -> Region | None:
        """The target's object with its rim at the network's input; None where none is known, or seen."""
        mask, class_id = target_mask(self.run, entry, target)
        return None if mask is None else kept_region(mask, class_id, entry.view, entry.image.shape[1])


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
