"""Verbs that make a run and see after it: run, status, repair, score, flag."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.errors import RunError
from pipelines.cli.groups import AttributionOptions, ClusterOptions, FindingsOptions, ModelOptions, spread
from pipelines.cli.options import Json, ManifestPath, RunPath, Workers
from pipelines.cli.printing import line, print_audited, print_json, print_status, print_summary
from pipelines.run.config import ClusterConfig
from pipelines.terminal import TerminalProgress

if TYPE_CHECKING:
    from audit.store import Run


@spread
def run(
    manifest: ManifestPath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the run.")],
    model: ModelOptions,
    attribution: AttributionOptions,
    cluster: ClusterOptions,
    findings: FindingsOptions,
    set_aside: Annotated[bool, typer.Option(help="Rename an existing run that was begun differently.")] = False,
) -> None:
    """Audit a collection: attribute, score, flag. The same command resumes it.

    Example: camaudit run val.parquet --model torchvision:resnet50 --weights IMAGENET1K_V2 -o runs/val
    """
    spec, rules, config, where = model.spec(), findings.rules(), attribution.config(), cluster.config()

    from pipelines.run.start import Request, command_line, start

    request = Request(manifest, out, spec, config, where, rules, findings.threshold, set_aside)
    try:
        print_audited(start(request, TerminalProgress()))
    except KeyboardInterrupt:
        typer.echo(f"interrupted; what is finished is kept. Go on with:\n  {command_line()}", err=True)
        raise SystemExit(130) from None


def status(
    run_path: RunPath,
    check: Annotated[bool, typer.Option("--check", help="Compare every committed file with its checksum.")] = False,
    as_json: Json = False,
) -> None:
    """Account for every sample: processed + failed + pending.

    Example: camaudit status runs/val --check
    """
    from audit.store import Run
    from pipelines.run.account import status_record

    record = status_record(Run.open(run_path), check)
    print_json(record) if as_json else print_status(run_path, record)
    if record.get("damaged") or not record["adds_up"]:
        raise SystemExit(1)


def repair(run_path: RunPath) -> None:
    """Take damaged shards out of the ledger, to be recomputed.

    The run's own command then recomputes them.

    Example: camaudit repair runs/val
    """
    from audit.store import Run
    from pipelines.run.account import withdraw_damaged

    opened = Run.open(run_path)
    damaged = withdraw_damaged(opened)
    for shard, name in damaged:
        line(f"damaged: {name}; samples {shard.start} to {shard.stop - 1} are pending again")
    command = opened.record.get("command", "the command that began the run")
    line(f"{len(damaged)} shards to recompute, with:\n  {command}" if damaged else "nothing is damaged")


def score(run_path: RunPath, workers: Workers = None) -> None:
    """Score a run's maps against the masks again, then flag.

    Example: camaudit score runs/val
    """
    from pipelines.run.start import rescore

    print_summary(rescore(run_path, ClusterConfig(workers), TerminalProgress()).summary)


@spread
def flag(run_path: RunPath, findings: FindingsOptions, as_json: Json = False) -> None:
    """Make findings again from the scores, with other rules.

    Example: camaudit flag runs/val --fdr 0.01
    """
    from audit.findings.judge import flag as make_findings
    from audit.store import Run

    opened = Run.open(run_path)
    _check_scored(opened)
    with opened.locked():
        summary = make_findings(opened, findings.rules(), findings.threshold, TerminalProgress())
    print_json(summary) if as_json else print_summary(summary)


def _check_scored(run: Run) -> None:
    """Without scores all findings would be none, which says what is not so."""
    done = run.done()
    if not done:
        raise RunError(f"{run.path} has no finished shard to flag; finish it with `camaudit run`")
    if not any(map(run.has_scores, done)):
        raise RunError(f"{run.path} has no scores to make findings from; score it with `camaudit score {run.path}`")
