"""Verbs that make a run and what follows from it: run, score, flag, report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_options import (
    Confident,
    Fdr,
    Json,
    Misplaced,
    RunPath,
    Threshold,
    Tolerated,
    Workers,
    names,
    pairs,
    print_json,
    right_use,
    rules_of,
    triple,
)


def run(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST")],
    model: Annotated[str, typer.Option(help="torchvision:NAME, timm:NAME, PATH.pt, module:function, FILE.py:function")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the run.")],
    weights: Annotated[str | None, typer.Option(help="Weights name, state-dict file, or random:SEED.")] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture of a bare state dict PATH.pt.")] = None,
    layer: Annotated[str | None, typer.Option(help="Target layer. [default: the last with a spatial output]")] = None,
    mapping: Annotated[str | None, typer.Option(help="JSON or CSV from the data set's classes to the model's.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the input, pixels.")] = None,
    mode: Annotated[str | None, typer.Option("--fit", help="squash, crop or letterbox.")] = None,
    resize: Annotated[int | None, typer.Option(help="For crop: length of the shorter side before.")] = None,
    mean: Annotated[str | None, typer.Option(help="Normalisation, three numbers as 0.485,0.456,0.406")] = None,
    std: Annotated[str | None, typer.Option(help="Normalisation, three numbers.")] = None,
    activation: Annotated[
        str | None, typer.Option(help="softmax; sigmoid for a multi-label model; none: outputs as they are.")
    ] = None,
    method: Annotated[str, typer.Option(help="Attribution method; camaudit methods lists them.")] = "gradcam",
    option: Annotated[
        list[str] | None, typer.Option(help="Of the method, as samples=8; may be given several times.")
    ] = None,
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    targets: Annotated[str, typer.Option(help="Any of label,predicted,runner_up")] = "label,predicted",
    batch_size: Annotated[int, typer.Option(help="Images a forward pass.")] = 16,
    shard_size: Annotated[
        int | None, typer.Option(help="Samples a shard, the unit of work and of resume. [default: by number and cost]")
    ] = None,
    workers: Workers = None,
    threads: Annotated[int, typer.Option(help="torch threads a worker.")] = 1,
    compiling: Annotated[
        str, typer.Option("--compile", help="always, never, or auto: where a long run repays it.")
    ] = "auto",
    memory: Annotated[str | None, typer.Option(help="Memory limit of a local worker, as 4GB.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of an existing Dask scheduler.")] = None,
    scheduler_file: Annotated[str | None, typer.Option(help="Connection file of an existing scheduler.")] = None,
    score: Annotated[bool, typer.Option(help="Score maps against masks.")] = True,
    fdr: Fdr = 0.05,
    confident: Confident = 0.5,
    misplaced: Misplaced = 0.05,
    tolerated: Tolerated = 0.5,
    threshold: Threshold = None,
    set_aside: Annotated[bool, typer.Option(help="Rename an existing run that was begun differently.")] = False,
) -> None:
    """Audit a collection: attribute, score, flag. The same command resumes it.

    Example: camaudit run val.parquet --model torchvision:resnet50 --weights IMAGENET1K_V2 -o runs/val
    """
    from audit.models import ModelSpec
    from pipelines.config import ClusterConfig, RunConfig
    from pipelines.start import Request, start
    from pipelines.terminal import TerminalProgress

    spec = ModelSpec(model, weights, arch, layer, mapping, size, mode, resize, triple(mean), triple(std, 0), activation)
    rules = rules_of(fdr, confident, misplaced, tolerated)
    with right_use():
        config = RunConfig(method, pairs(option or []), precision, names(targets), batch_size, shard_size, scored=score)
        cluster = ClusterConfig(workers, threads, compiling, memory, scheduler, scheduler_file)
    try:
        start(Request(manifest, out, spec, config, cluster, rules, threshold, set_aside), TerminalProgress())
    except KeyboardInterrupt:
        typer.echo(f"interrupted; what is finished is kept. Go on with:\n  {_command()}", err=True)
        raise SystemExit(130) from None


def score(run_path: RunPath, workers: Workers = None) -> None:
    """Score a run's maps against the masks again, then flag.

    Example: camaudit score runs/val
    """
    from pipelines.config import ClusterConfig
    from pipelines.start import rescore
    from pipelines.terminal import TerminalProgress

    rescore(run_path, ClusterConfig(workers), TerminalProgress())


def flag(
    run_path: RunPath,
    fdr: Fdr = 0.05,
    confident: Confident = 0.5,
    misplaced: Misplaced = 0.05,
    tolerated: Tolerated = 0.5,
    threshold: Threshold = None,
    as_json: Json = False,
) -> None:
    """Make findings and summary again from the scores, with other rules.

    Example: camaudit flag runs/val --fdr 0.01
    """
    from audit.findings.judge import flag as make_findings
    from audit.store import Run
    from pipelines.report import print_summary

    opened = Run.open(run_path)
    with opened.locked():
        summary = make_findings(opened, rules_of(fdr, confident, misplaced, tolerated), threshold)
    print_json(summary) if as_json else print_summary(summary)


def report(
    run_path: RunPath,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", dir_okay=False, help="Page to write. [default: RUN/report/index.html]")
    ] = None,
    most: Annotated[int, typer.Option(min=0, help="Claims, and images, to show with pictures.")] = 12,
) -> None:
    """Write what was found, with its pictures and its limits, as one HTML page that works offline.

    Contact sheets of the clusters found go into RUN/report/sheets.

    Example: camaudit report runs/val -o val.html
    """
    from audit.report import draw_sheets, write_report
    from audit.store import Run
    from pipelines.terminal import TerminalProgress

    opened, progress = Run.open(run_path), TerminalProgress()
    typer.echo(write_report(opened, out, most, progress))
    for sheet in draw_sheets(opened, progress):
        typer.echo(sheet)


def _command() -> str:
    return shlex.join(["camaudit", *sys.argv[1:]])
