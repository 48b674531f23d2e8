"""Faithfulness of a run's maps: the network again, on inputs changed where the maps are hot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import RunError
from audit.images import View, upsample
from audit.models import Classifier
from audit.progress import Progress, silent, stretch
from audit.scores.faithfulness import (
    Image,
    area_under,
    blurred,
    centre_map,
    drop,
    exchange,
    hottest,
    impute,
    random_map,
    rank_pixels,
    shown,
)
from audit.stats.resampling import bootstrap_means
from audit.store import Run, Shard, layout
from audit.store.storage.files import write_atomically, write_json
from audit.store.storage.objects import Location
from pipelines.asked import Trial
from pipelines.experiments.inputs import asked_of, class_probabilities, read_input, read_targets
from pipelines.experiments.spread import Ask, Spread, Unread, failures, in_this_process

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROAD_SHARES = (0.1, 0.3, 0.5, 0.7)
MEASURES = {
    "deletion": "lower is better",
    "insertion": "higher is better",
    "average drop": "lower is better",
    "increase": "higher is better",
    "road": "lower is better",
}
"""What is measured of a map, for each target between 0 and 1.

`deletion` and `insertion` are areas under the curves, `increase` is 1 where p(c) rises when only the explanation is
shown, `road` is the mean p(c) over `ROAD_SHARES`.
"""
BASELINES = ("random", "centre")
JSON_NAME, PICTURE_NAME = "faithfulness.json", "faithfulness.png"


@dataclass(frozen=True)
class Measured:
    """One map of one target.

    Attributes:
        deletion, insertion: p(c) [steps + 1] after each share.
        values: of `MEASURES`, in their order.
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    values: Mapping[str, float]


def measure_run(
    run: Run,
    classifier: Classifier,
    trial: Trial,
    targets: Sequence[Mapping[str, Any]],
    progress: Progress = silent,
    spread: Spread = in_this_process,
) -> dict[str, Any]:
    """Measure the maps of targets, each beside a random map and one of the centre.

    Args:
        classifier: that the run was made with.
        targets: of `draw_targets`.
        progress: told of every target.
        spread: who asks the model.

    Raises:
        RunError: none of their images can be read as it was, or outputs are no probabilities.
    """
    if classifier.activation == "none":
        raise RunError(f"Expected probabilities to measure, but the outputs of {run.path} are other values (none)")
    with stretch(progress, "faithfulness", len(targets)):
        answers = spread(partial(_begin, trial), run, classifier, targets, progress)
    failed = failures(targets, answers)
    read = [answer for answer in answers if not isinstance(answer, Unread)]
    if not read:
        raise RunError(f"None of the images drawn from {run.path} can be read as it was; first: {failed[0]['reason']}")
    measured = {name: [answer[name] for answer in read] for name in (_method(run), *BASELINES)}
    return _record(run, trial, measured, failed)


def _begin(trial: Trial, run: Run, classifier: Classifier) -> Ask:
    return partial(_measure_target, run, classifier, trial)


def draw_targets(run: Run, count: int, seed: int, scored: bool = False) -> list[dict[str, Any]]:
    """Up to `count` targets with a map, without repeats, drawn from a seed; in the order of their samples.

    Args:
        scored: only those whose object is known.

    Raises:
        RunError: there are none.
    """
    shards = run.done()
    with_map = [_scored_rows(run, shard) if scored else _rows_with_maps(run, shard) for shard in shards]
    ends = np.cumsum([0, *map(len, with_map)])
    if not ends[-1]:
        raise RunError(f"No target of {run.path} has a map yet; make them with `camaudit run`")
    chosen = np.sort(np.random.default_rng(seed).choice(ends[-1], min(count, ends[-1]), replace=False))
    parts = zip(shards, with_map, ends[:-1], ends[1:], strict=True)
    return [
        target
        for shard, rows, start, stop in parts
        for target in read_targets(run, shard, rows[chosen[(chosen >= start) & (chosen < stop)] - start])
    ]


def _rows_with_maps(run: Run, shard: Shard) -> NDArray[np.intp]:
    statuses = run.read("targets", shard, ["status"])["status"].to_numpy()
    return np.flatnonzero(statuses == "ok")


def _scored_rows(run: Run, shard: Shard) -> NDArray[np.intp]:
    """Scores have a row for each target, in the order of targets."""
    if not run.has_scores(shard):
        return np.empty(0, np.intp)
    return np.flatnonzero(run.read("scores", shard, ["status"])["status"].to_numpy() == "scored")


def _measure_target(run: Run, classifier: Classifier, trial: Trial, target: Mapping[str, Any]) -> dict[str, Measured]:
    entry = read_input(run, classifier, target["sample"], target["digest"])
    image, size = entry.image, entry.image.shape[1]
    stored = run.maps(target["sample"], target["sample"] + 1)[0, target["slot"]].astype(np.float32)
    rng = np.random.default_rng([trial.seed, target["sample"], target["slot"]])
    grid = (stored.shape[0], stored.shape[1])
    maps = np.stack([stored, random_map(grid, rng), centre_map(grid)])
    heats = upsample(maps, View(0, 0, size, size), size, size)
    dim, about = blurred(image), asked_of(run, target)

    def read(inputs: Iterable[Image]) -> NDArray[np.float64]:
        return class_probabilities(classifier, inputs, entry.given, about, trial.batch_size)

    common = read([image, np.zeros_like(image), dim])
    names = (_method(run), *BASELINES)
    measured = [_measure_map(common, read(_changed(image, dim, heat, trial, rng))) for heat in heats]
    return dict(zip(names, measured, strict=True))


def _changed(
    image: Image, dim: Image, heat: NDArray[np.float32], trial: Trial, rng: np.random.Generator
) -> Iterator[Image]:
    """The inputs that a map asks for: deletion, insertion, what it shows, and ROAD."""
    ranks = rank_pixels(heat)
    grey = np.zeros_like(image)
    shares = [step / trial.steps for step in range(1, trial.steps)]
    yield from (exchange(image, grey, ranks, share) for share in shares)
    yield from (exchange(dim, image, ranks, share) for share in shares)
    yield shown(image, heat)
    yield from (impute(image, hottest(ranks, share), rng) for share in ROAD_SHARES)


def _measure_map(common: NDArray[np.float64], changed: NDArray[np.float64]) -> Measured:
    """From p(c) of the image, of grey and of the blurred image, and of the inputs of `_changed`."""
    whole, grey, dim = common
    between = len(changed) - 1 - len(ROAD_SHARES)
    deleted, inserted = changed[: between // 2], changed[between // 2 : between]
    deletion = np.array([whole, *deleted, grey])
    insertion = np.array([dim, *inserted, whole])
    explained, road = float(changed[between]), changed[between + 1 :]
    values = {
        "deletion": float(area_under(deletion)),
        "insertion": float(area_under(insertion)),
        "average drop": drop(float(whole), explained),
        "increase": float(explained > whole),
        "road": float(road.mean()),
    }
    return Measured(deletion, insertion, values)


def _record(
    run: Run, trial: Trial, measured: Mapping[str, Sequence[Measured]], failed: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    values = {
        name: np.array([list(target.values.values()) for target in targets]) for name, targets in measured.items()
    }
    method, seed = _method(run), trial.seed
    return {
        "method": method,
        "steps": trial.steps,
        "seed": trial.seed,
        "batch_size": trial.batch_size,
        "targets": len(measured[method]),
        "failed": list(failed),
        "road_shares": list(ROAD_SHARES),
        "measures": {name: _by_measure(rows, seed) for name, rows in values.items()},
        "less_random": {
            name: _by_measure(rows - values["random"], seed) for name, rows in values.items() if name != "random"
        },
        "curves": {
            name: {
                "deletion": bootstrap_means(np.array([target.deletion for target in targets]), seed),
                "insertion": bootstrap_means(np.array([target.insertion for target in targets]), seed),
            }
            for name, targets in measured.items()
        },
    }


def _by_measure(values: NDArray[np.float64], seed: int) -> dict[str, dict[str, float]]:
    return dict(zip(MEASURES, bootstrap_means(values, seed), strict=True))


def _method(run: Run) -> str:
    return str(run.record["config"]["method"])


def write_measures(run: Run, record: Mapping[str, Any]) -> tuple[Location, Location]:
    """Write a record and its picture into the run's report; returns their paths."""
    folder = run.path / layout.REPORT
    write_json(folder / JSON_NAME, dict(record))
    write_atomically(folder / PICTURE_NAME, lambda partial: draw_curves(record, partial))
    return folder / JSON_NAME, folder / PICTURE_NAME


def draw_curves(record: Mapping[str, Any], path: Path) -> None:
    """Draw the mean curves of deletion and insertion, with 95 % intervals, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"deletion": "Deletion: hottest pixels go first", "insertion": "Insertion: hottest pixels come first"}
    for panel, (kind, title) in zip(panels, titles.items(), strict=True):
        for (name, curves), colour in zip(record["curves"].items(), _COLOURS, strict=True):
            _draw_curve(panel, curves[kind], name, colour, record["measures"][name][kind]["mean"])
        panel.set(title=f"{title} ({MEASURES[kind]})", xlabel="share of the pixels", xlim=(0, 1), ylim=(0, None))
        panel.grid(alpha=0.3)
        panel.legend(frameon=False)
    panels[0].set_ylabel("mean probability of the class")
    figure.suptitle(f"{record['targets']} targets, bands: 95 % interval of the mean", fontsize=10)
    figure.savefig(path, format="png", dpi=120)


def _draw_curve(panel: Axes, points: Sequence[Mapping[str, float]], name: str, colour: str, area: float) -> None:
    shares = np.linspace(0, 1, len(points))
    mean, low, high = ([point[key] for point in points] for key in ("mean", "low", "high"))
    panel.plot(shares, mean, color=colour, label=f"{name} (area {area:.3f})")
    panel.fill_between(shares, low, high, color=colour, alpha=0.15, linewidth=0)


_COLOURS = ("#0b6e4f", "#7a7a7a", "#c8701d")
