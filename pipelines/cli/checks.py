"""Verbs that hold findings, methods and maps against the network itself: verify, sanity, faithfulness."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.asked import SanityCheck, Trial, Verification
from pipelines.cli.options.common import Device, Json, ModelAgain, RunPath, Wide, right_use
from pipelines.cli.options.groups import ClusterOptions, spread
from pipelines.cli.printing import line, print_faithfulness, print_json, print_sanity, print_verified
from pipelines.run.config import ClusterConfig
from pipelines.terminal import TerminalProgress

if TYPE_CHECKING:
    from audit.models import Classifier
    from audit.store import Run
    from audit.store.storage.objects import Location


@spread
def verify(
    run_path: RunPath,
    cluster: ClusterOptions,
    targets: Annotated[
        int, typer.Option(min=1, help="Flagged targets to intervene on, and random ones to compare.")
    ] = Verification.targets,
    model: ModelAgain = None,
    fill: Annotated[
        str, typer.Option(help="What takes a region's place: inpaint, blur, mean or patch.")
    ] = Verification.fill,
    seed: Annotated[
        int, typer.Option(min=0, help="Of regions, backgrounds, random weights and intervals.")
    ] = Verification.seed,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a forward pass.")] = Verification.batch_size,
    device: Device = "auto",
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Change the images and ask the model again: is it the cause?

    The background, the hot region and the object are taken away. For flagged targets, most severe first, beside
    controls that are not flagged; and the scores of a network with random weights. Writes findings/effects.parquet,
    findings/causes.parquet and report/null.json. This process asks, unless workers are asked for.

    Example: camaudit verify data/runs/demo --targets 50
    """
    _check_source(run_path, model)
    with right_use():
        asked = Verification(targets, fill, seed, batch_size)
    record = _verify(run_path, model, asked, replace(cluster.config(), device=device))
    print_json(record) if as_json else print_verified(record, wide)


def sanity(
    run_path: RunPath,
    method: Annotated[
        list[str] | None, typer.Option(help="Method to check; may be given several times. [default: the run's]")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Images, taken evenly over the run.")] = SanityCheck.samples,
    model: ModelAgain = SanityCheck.model,
    stages: Annotated[
        int, typer.Option(min=1, help="Steps in which the network is randomised, at most.")
    ] = SanityCheck.stages,
    seed: Annotated[int, typer.Option(help="Of the random weights.")] = SanityCheck.seed,
    device: Device = SanityCheck.device,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Randomise the model's layers: do a method's maps change?

    From the output down. A method whose maps hardly change does not explain the model. After Adebayo et al. (2018).
    Writes RUN/report/sanity.json and sanity.png.

    Example: camaudit sanity runs/val --method gradcam --method eigencam
    """
    _check_source(run_path, model)
    with right_use():
        check = SanityCheck(tuple(method or ()), model, sample, stages, seed, device=device)

    from pipelines.experiments.sanity import check_sanity, picture_of

    record = check_sanity(run_path, check, TerminalProgress())
    print_json(record) if as_json else print_sanity(record, picture_of(run_path), wide)


@spread
def faithfulness(
    run_path: RunPath,
    cluster: ClusterOptions,
    targets: Annotated[int, typer.Option(min=1, help="Targets to draw.")] = Trial.targets,
    model: ModelAgain = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the curves.")] = Trial.steps,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw, the random maps and the noise.")] = Trial.seed,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a forward pass.")] = Trial.batch_size,
    device: Device = "auto",
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Measure whether a run's maps are right about the network.

    By deletion, insertion, average drop and ROAD, beside a random map and one of the centre, with 95 % intervals;
    writes report/faithfulness.json and .png. This process asks, unless workers are asked for.

    Example: camaudit faithfulness data/runs/demo --targets 50
    """
    _check_source(run_path, model)
    record, files = _measure(
        run_path, model, Trial(targets, steps, seed, batch_size), replace(cluster.config(), device=device)
    )
    if as_json:
        print_json(record)
    else:
        print_faithfulness(record, wide)
        line(f"{files[0]} and {files[1].name}")


def _check_source(run_path: str, model: str | None) -> None:
    """Refuse a model that cannot be loaded again before torch and the rest are, which takes seconds."""
    from audit.store import Run
    from pipelines.experiments.source import source_of_run

    source_of_run(Run.open(run_path), model)


def _verify(run_path: str, model: str | None, asked: Verification, cluster: ClusterConfig) -> dict[str, Any]:
    from pipelines.experiments.spread import over_workers
    from pipelines.experiments.verify import verify_run

    run, classifier = opened(run_path, model, cluster.device)
    with run.locked():
        return verify_run(run, classifier, asked, TerminalProgress(), over_workers(cluster, model))


def _measure(
    run_path: str, model: str | None, trial: Trial, cluster: ClusterConfig
) -> tuple[dict[str, Any], tuple[Location, Location]]:
    from pipelines.experiments.faithfulness import draw_targets, measure_run, write_measures
    from pipelines.experiments.spread import over_workers

    run, classifier = opened(run_path, model, cluster.device)
    targets = draw_targets(run, trial.targets, trial.seed)
    record = measure_run(run, classifier, trial, targets, TerminalProgress(), over_workers(cluster, model))
    return record, write_measures(run, record)


def opened(run_path: str, model: str | None, device: str) -> tuple[Run, Classifier]:
    """A run, and its model in the run's precision, on a device or on every core."""
    from audit.models.device import choose_device, move
    from audit.models.execution import in_precision, use_threads
    from audit.store import Run
    from pipelines.experiments.model import model_of_run

    use_threads()
    run = Run.open(run_path)
    classifier = model_of_run(run, model)
    move(classifier.module, choose_device(device))
    return run, in_precision(classifier, run.record["config"]["precision"])
