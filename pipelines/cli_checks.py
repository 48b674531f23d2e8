"""Verbs that hold a run's maps, or its methods, against the network itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from audit.findings.records import OUTCOMES
from pipelines.cli_options import Json, RunPath, print_json, right_use


def faithfulness(
    run_path: RunPath,
    sample: Annotated[int, typer.Option(min=1, help="Targets to draw.")] = 100,
    model: Annotated[str | None, typer.Option(help="The run's model, named again if it is code or has moved.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the curves.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw, the random maps and the noise.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a forward pass.")] = 16,
    as_json: Json = False,
) -> None:
    """Measure whether a run's maps are right about the network: deletion, insertion, average drop, ROAD.

    Beside a random map and one of the centre, with 95 % intervals; writes report/faithfulness.json and .png.

    Example: camaudit faithfulness data/runs/demo --sample 50
    """
    from audit.models.execution import in_precision
    from audit.store import Run
    from pipelines.faithfulness import Trial, draw_targets, measure_run, write_report
    from pipelines.models import model_of_run
    from pipelines.terminal import TerminalProgress
    from pipelines.train import use_all_cores

    use_all_cores()
    run, trial = Run.open(run_path), Trial(sample, steps, seed, batch_size)
    classifier = in_precision(model_of_run(run, model), run.record["config"].get("precision", "float32"))
    targets = draw_targets(run, sample, seed)
    record = measure_run(run, classifier, trial, targets, TerminalProgress())
    files = write_report(run, record)
    if as_json:
        print_json(record)
        return
    print_faithfulness(record)
    typer.echo(f"{files[0]} and {files[1].name}")


def sanity(
    run_path: RunPath,
    method: Annotated[
        list[str] | None, typer.Option(help="Method to check; may be given several times. [default: the run's]")
    ] = None,
    sample: Annotated[int, typer.Option(help="Images, taken evenly over the run.")] = 16,
    model: Annotated[
        str | None, typer.Option(help="The run's model named again; needed where it is code, as FILE.py:function.")
    ] = None,
    stages: Annotated[int, typer.Option(help="Steps in which the network is randomised, at most.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the random weights.")] = 0,
    as_json: Json = False,
) -> None:
    """Randomise the model's layers from the output down: a method whose maps hardly change does not explain it.

    After Adebayo et al. (2018). Writes RUN/report/sanity.json and sanity.png.

    Example: camaudit sanity runs/val --method gradcam --method eigencam
    """
    from pipelines.sanity import SanityCheck, check_sanity, print_sanity
    from pipelines.terminal import TerminalProgress

    try:
        check = SanityCheck(tuple(method or ()), model, sample, stages, seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    record = check_sanity(run_path, check, TerminalProgress())
    print_json(record) if as_json else print_sanity(record, run_path)


def verify(
    run_path: RunPath,
    targets: Annotated[
        int, typer.Option(min=1, help="Flagged targets to intervene on, and random ones to compare.")
    ] = 200,
    model: Annotated[str | None, typer.Option(help="The run's model, named again if it is code or has moved.")] = None,
    fill: Annotated[str, typer.Option(help="What takes a region's place: inpaint, blur, mean or patch.")] = "inpaint",
    seed: Annotated[int, typer.Option(min=0, help="Of regions, backgrounds, random weights and intervals.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a forward pass.")] = 32,
    as_json: Json = False,
) -> None:
    """Take the background, the hot region and the object away: is what the findings show the cause?

    For flagged targets, most severe first, beside controls that are not flagged; and the scores of a network with
    random weights. Writes findings/effects.parquet, findings/causes.parquet and report/null.json.

    Example: camaudit verify data/runs/demo --targets 50
    """
    from audit.models.execution import in_precision
    from audit.store import Run
    from pipelines.models import model_of_run
    from pipelines.train import use_all_cores
    from pipelines.verify import Verification, verify_run

    with right_use():
        asked = Verification(targets, fill, seed, batch_size)
    use_all_cores()
    run = Run.open(run_path)
    classifier = in_precision(model_of_run(run, model), run.record["config"].get("precision", "float32"))
    with run.locked():
        record = verify_run(run, classifier, asked, TerminalProgress())
    print_json(record) if as_json else print_verified(record)


def print_verified(record: Mapping[str, Any]) -> None:
    """Print the outcomes of flagged targets and controls, a sentence a finding, and one about random weights."""
    from rich.table import Table

    from pipelines.progress import say
    from pipelines.report import console

    table = Table(title=f"Interventions on {record['targets']} targets, {len(record['failed'])} unreadable")
    for name in ("targets", *OUTCOMES):
        table.add_column(name, justify="left" if name == "targets" else "right")
    for arm, outcomes in record["outcomes"].items():
        table.add_row(arm, *(str(outcomes.get(name, 0)) for name in OUTCOMES))
    console.print(table)
    for cause in record["causes"]:
        say(f"{cause['claim_id']} {cause['outcome']}: {cause['says']}", console)
    say(record["random_weights"]["says"], console) if record["random_weights"] else None


def print_faithfulness(record: Mapping[str, Any]) -> None:
    """Print the measures of each map, and how the run's method differs from a random map on the same targets."""
    from rich.table import Table
    from rich.text import Text

    from pipelines.faithfulness import MEASURES
    from pipelines.report import console

    method = record["method"]
    table = Table(title=f"Faithfulness on {record['targets']} targets, {len(record['failed'])} unreadable [95 %]")
    table.add_column("measure")
    for name in (*record["measures"], f"{method} less random"):
        table.add_column(Text(name), justify="right")
    for measure, better in MEASURES.items():
        own = [means[measure] for means in record["measures"].values()]
        cells = [_interval(means) for means in (*own, record["less_random"][method][measure])]
        table.add_row(f"{measure}\n({better})", *cells)
    console.print(table)


def _interval(means: Mapping[str, float]) -> Any:
    from rich.text import Text

    return Text(f"{means['mean']:.3f}\n[{means['low']:.3f}, {means['high']:.3f}]")
