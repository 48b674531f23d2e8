"""Verbs that make a run and see after it: run, status, repair, score, flag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from audit.errors import RunError
from audit.progress import Noted
from pipelines.cli.options.common import CollectionPath, Json, RunOut, RunPath, share
from pipelines.cli.options.groups import (
    AttributionOptions,
    ClusterOptions,
    FindingsOptions,
    ModelOptions,
    RunClusterOptions,
    spread,
)
from pipelines.cli.printing import line, print_audited, print_basis, print_json, print_status, print_summary
from pipelines.terminal import TerminalProgress

if TYPE_CHECKING:
    from audit.store import Run


@spread
def run(
    collection: CollectionPath,
    out: RunOut,
    model: ModelOptions,
    attribution: AttributionOptions,
    cluster: RunClusterOptions,
    findings: FindingsOptions,
    set_aside: Annotated[bool, typer.Option(help="Rename an existing run that was begun differently.")] = False,
    max_failed: Annotated[
        float, typer.Option(callback=share, help="Share of failed samples above which a finished run exits with 1.")
    ] = 0.1,
) -> None:
    """Audit a collection: attribute, score, flag. The same command resumes it.

    A folder is indexed on the way: class subfolders, or images beside one another. Masks and boxes take an index.

    Example: camaudit run val.parquet --model torchvision:resnet50 --weights IMAGENET1K_V2 -o runs/val
    """
    from audit.findings.evidence.units import check_unit
    from pipelines.run.folders import attributes_of

    progress, rules, where = TerminalProgress(), findings.rules(), cluster.config()
    # What can be refused is refused before torch is loaded.
    check_unit(rules.unit, attributes_of(collection, out))
    progress(Noted("loading torch"))
    spec, config = model.spec(), attribution.config()

    from pipelines.run.account import refuse_failed
    from pipelines.run.start import Request, start

    request = Request(collection, out, spec, config, where, rules, findings.threshold, set_aside)
    audited = start(request, progress)
    print_audited(audited)
    refuse_failed(audited.run, max_failed)


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


def repair(
    run_path: RunPath,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="Also shards with samples in quarantine.")] = False,
) -> None:
    """Take damaged shards out of the ledger, to be recomputed.

    The run's own command then recomputes them. With --quarantined, samples that killed their worker are tried again.

    Example: camaudit repair runs/val
    """
    from audit.store import Run
    from pipelines.run.account import withdraw_damaged, withdraw_quarantined

    opened = Run.open(run_path)
    damaged = withdraw_damaged(opened)
    for damage in damaged:
        shard = damage.shard
        what = damage.advice if shard is None else f"samples {shard.start} to {shard.stop - 1} are pending again"
        line(f"damaged: {damage.file}; {what}")
    withdrawn = sum(damage.shard is not None for damage in damaged)
    line(f"shards to recompute: {withdrawn}" if damaged else "nothing is damaged")
    tried_again = withdraw_quarantined(opened) if quarantined else 0
    if quarantined:
        line(f"{tried_again} samples in quarantine to be tried again" if tried_again else "nothing is in quarantine")
    if withdrawn or tried_again:
        line(f"go on with:\n  {opened.record.get('command', 'the command that began the run')}")


@spread
def score(
    run_path: RunPath,
    cluster: ClusterOptions,
    anew: Annotated[
        bool, typer.Option("--anew", help="All of it, also what an interrupted scoring did: the masks have changed.")
    ] = False,
    verdicts: Annotated[
        bool, typer.Option("--verdicts", help="Take boxes that reviewers drew for objects where none are listed.")
    ] = False,
) -> None:
    """Score a run's maps against the masks again, then flag.

    A scoring that was interrupted is gone on with. With --verdicts an image without mask or box is scored against the
    boxes that reviewers drew in it, for the classes that they drew; without, such boxes are left out again.

    Example: camaudit score runs/val
    """
    from pipelines.run.start import rescore

    scored = rescore(run_path, cluster.config(), TerminalProgress(), anew, verdicts)
    print_summary(scored.summary)
    print_basis(scored.run)


@spread
def flag(
    run_path: RunPath,
    findings: FindingsOptions,
    verdicts: Annotated[
        bool, typer.Option("--verdicts", help="Leave out findings and claims that reviewers disagree with.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make findings again from the scores, with other rules.

    The unit of evidence stays what it was unless --unit is given; --unit image makes it images again. With --verdicts
    targets that reviewers together disagree with count as looking at their objects, also in claims and in compare.

    Example: camaudit flag runs/val --fdr 0.01
    """
    from dataclasses import replace

    from audit.findings import Findings
    from audit.findings.judge import flag as make_findings
    from audit.store import Run

    opened = Run.open(run_path)
    with opened.locked():
        _check_scored(opened)
        rules = replace(findings.rules(), verdicts=verdicts)
        if findings.unit is None:
            before = Findings(opened).summary() or {}
            rules = replace(rules, unit=before.get("rules", {}).get("unit"))
        summary = make_findings(opened, rules, findings.threshold, TerminalProgress())
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)
        print_basis(opened)


def _check_scored(run: Run) -> None:
    """Without scores all findings would be none, which says what is not so."""
    done = run.done()
    if not done:
        raise RunError(f"{run.path} has no finished shard to flag; finish it with `camaudit run`")
    if not run.having("scores"):
        raise RunError(f"{run.path} has no scores to make findings from; score it with `camaudit score {run.path}`")
