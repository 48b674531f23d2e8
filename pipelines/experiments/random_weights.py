"""What a network that has learnt nothing would score: a run's targets explained again with random weights.

After Adebayo et al., Sanity Checks for Saliency Maps (NeurIPS 2018): a score that a network with random weights reaches
as well does not come from what was learnt, but from where objects lie and from how the method draws its maps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audit.attribution import Method, make_method
from audit.attribution.asked import explain_asked
from audit.attribution.sanity import randomise_from_top
from audit.errors import ImageError, RunError
from audit.findings import Findings
from audit.findings.rules import misplacement
from audit.models import Classifier
from audit.progress import Advanced, Progress, silent, stretch
from audit.scores.placed import Placed
from audit.scores.shift_null import shift_null
from audit.stats.resampling import bootstrap_means
from audit.store import Run, layout
from audit.store.storage.files import write_json
from pipelines.experiments.backgrounds import target_mask
from pipelines.experiments.inputs import Input, asked_of, read_input

MEASURES = ("energy", "lift", "misplaced")
"""Share of heat on the object; that over the object's share of the area; share of maps as misplaced as a finding."""


def compare_with_random(
    run: Run,
    classifier: Classifier,
    targets: Sequence[Mapping[str, Any]],
    seed: int = 0,
    batch_size: int = 16,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score targets by the run's maps and by those of its model with random weights; writes `report/null.json`.

    Args:
        targets: of `pipelines.experiments.faithfulness.draw_targets`. Those without a known object are left out.
        seed: of the weights and of the intervals.
        progress: told of every batch of targets; the unreadable ones failed.

    Raises:
        RunError: none of the targets has an object that is known.
    """
    config = run.record["config"]
    *_, (_, module) = randomise_from_top(classifier.module, classifier.example(), 2, seed)
    method = make_method(config["method"], replace(classifier, module=module), options=config["options"])
    measured: list[NDArray[np.float64]] = []
    with method as explain, stretch(progress, "random weights", len(targets)):
        for start in range(0, len(targets), batch_size):
            batch = targets[start : start + batch_size]
            readable = [(target, entry) for target in batch if (entry := _read(run, classifier, target))]
            measured += _both(run, explain, readable) if readable else []
            progress(Advanced(len(batch), len(batch) - len(readable)))
    if not measured:
        raise RunError(f"Expected targets with known objects in {run.path} to compare with random weights, found none")
    scored = [values for values in measured if not np.isnan(values).any()]
    counts = {"targets": len(scored), "without_map": len(measured) - len(scored), "seed": seed}
    record = counts | (_compared(np.array(scored), seed) if scored else {"says": _NOTHING})
    write_json(run.path / layout.REPORT / layout.NULL, record)
    return record


def _read(run: Run, classifier: Classifier, target: Mapping[str, Any]) -> Input | None:
    try:
        return read_input(run, classifier, target["sample"], target["digest"])
    except ImageError:
        return None


def _both(
    run: Run, explain: Method, readable: Sequence[tuple[Mapping[str, Any], Input]]
) -> Iterator[NDArray[np.float64]]:
    """`MEASURES` of each target's stored map, then of the random network's: [2, 3], NaN where there is none."""
    limit = Findings(run).rules().misplaced
    images = torch.from_numpy(np.stack([entry.image for _, entry in readable]))
    asked = [asked_of(run, target) for target, _ in readable]
    drawn = explain_asked(explain, images, asked).cpu().numpy()
    for (target, entry), random in zip(readable, drawn, strict=True):
        mask, object_id = target_mask(run, entry, target)
        if mask is None:
            continue
        stored = run.maps(target["sample"], target["sample"] + 1)[0, target["slot"]]
        class_id = np.array([object_id])
        pair = (Placed.of(maps, entry.view, mask, class_id, entry.size) for maps in (stored[None], random))
        yield np.stack([_measures(placed, limit) for placed in pair])


def _measures(placed: Placed, limit: float) -> NDArray[np.float64]:
    """[3] of one map, misplaced from a limit on; NaN without heat, or where the object is not seen."""
    total, area = float(placed.total[0]), float(placed.objects[0].sum() / placed.valid.sum())
    if not total > 0 or not area > 0:
        return np.full(len(MEASURES), np.nan)
    energy = float((placed.heat[0] * placed.objects[0]).sum()) / total
    null = shift_null(placed)
    misplaced = misplacement(null.high, np.array([energy]), null.attainable)[0] >= limit
    return np.array([energy, energy / area, float(misplaced)])


_NOTHING = "With random weights the network has no evidence for any of the targets: there is nothing to compare."


def _compared(scored: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """Means with intervals of [n, 2, 3]: the run's, random weights', and their difference."""
    columns = np.concatenate([scored[:, 0], scored[:, 1], scored[:, 0] - scored[:, 1]], axis=1)
    means = bootstrap_means(columns, seed)
    record: dict[str, Any] = {
        name: dict(zip(MEASURES, means[place * len(MEASURES) :], strict=False))
        for place, name in enumerate(("trained", "random", "difference"))
    }
    return {**record, "says": _says(record)}


def _says(record: Mapping[str, Any]) -> str:
    trained, random = (record[name]["energy"]["mean"] for name in ("trained", "random"))
    apart = record["difference"]["energy"]
    return (
        f"A network that has learnt nothing puts {random:.2f} of its heat on the object, this one {trained:.2f} "
        f"(difference {apart['mean']:.2f} [{apart['low']:.2f}, {apart['high']:.2f}])."
    )
