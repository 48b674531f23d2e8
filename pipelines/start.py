"""The run as a whole: lock, sweep, attribute and score what is pending, flag, report."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from audit.errors import RunError
from audit.findings import Findings, Rules
from audit.findings.judge import flag
from audit.models import ModelSpec
from audit.progress import Noted, Progress, silent, stretch
from audit.store import Run, layout
from audit.store.files import write_json
from pipelines.cluster import connect
from pipelines.config import ClusterConfig, RunConfig
from pipelines.plan import Plan, prepare
from pipelines.report import console as out_console
from pipelines.report import cost_line, maps_line, maps_record, print_status, print_summary, status_record
from pipelines.schedule import audit, pending, submit_all
from pipelines.shards import rescore_shard
from pipelines.speed import decide_compiling
from pipelines.terminal import say


@dataclass(frozen=True)
class Request:
    """All that `camaudit run` was asked."""

    manifest: Path
    out: Path
    spec: ModelSpec
    config: RunConfig
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    rules: Rules = field(default_factory=Rules)
    threshold: float | None = None
    set_aside: bool = False


def start(request: Request, progress: Progress = silent) -> dict[str, Any]:
    """Begin or resume a run, see it to its end, print what came out, and return the summary."""
    plan = prepare(str(request.manifest), str(request.out), portable(request.spec), request.config, request.set_aside)
    run = plan.run
    with run.locked() as stale:
        _note_resumed(run, plan.resumed, stale, progress)
        _keep_command(run)
        todo = sum(map(len, pending(run)))
        if todo:
            compiled = _compiling(plan, request.cluster, todo, progress)
            task = replace(plan.task, threads=request.cluster.threads, compiled=compiled)
            with connect(request.cluster) as client:
                _note_cost(run, todo, progress)
                audit(replace(plan, task=task), client, progress)
        summary = _flagged(run, request, anew=bool(todo)) if request.config.scored else {}
    print_status(run, status_record(run, check=False))
    if summary:
        print_summary(summary)
        say(f"next: camaudit findings {run.path}; camaudit dashboard {run.path}", out_console)
    return summary


def _flagged(run: Run, request: Request, anew: bool) -> dict[str, Any]:
    """Findings of the run: those there are if nothing has changed, so that what was made of them stays."""
    path = run.path / layout.SUMMARY
    if not anew and path.exists() and request.threshold is None and Findings(run).rules() == request.rules:
        summary: dict[str, Any] = json.loads(path.read_text())
        if summary["samples"]["processed"] == run.account().processed:
            return summary
    return flag(run, request.rules, request.threshold)


def _compiling(plan: Plan, cluster: ClusterConfig, todo: int, progress: Progress) -> bool:
    """Whether the workers compile the network."""
    if cluster.compiling != "auto" or cluster.scheduler or cluster.scheduler_file:
        return cluster.compiling == "always"  # what other machines gain was not measured
    each = todo / cluster.local_workers
    return decide_compiling(plan.classifier, plan.task.config, each, cluster.threads, progress)


def rescore(path: Path, cluster: ClusterConfig, progress: Progress = silent) -> None:
    """Score all finished shards again, then flag with the rules that the run was last flagged with."""
    run = Run.open(path)
    with run.locked():
        shards = run.done()
        if not shards:
            raise RunError(f"{path} has no finished shard to score; finish it with `camaudit run`")
        work = partial(rescore_shard, os.path.abspath(path))
        with connect(cluster) as client, stretch(progress, "scoring", sum(map(len, shards))):
            submit_all(client, shards, work, progress)
        (run.path / layout.REPORT / layout.NULL).unlink(missing_ok=True)
        print_summary(flag(run, Findings(run).rules()))


def portable(spec: ModelSpec) -> ModelSpec:
    """A spec whose files are named by absolute paths, for workers that start elsewhere."""
    changes = {}
    for name in ("model", "weights", "arch", "mapping"):
        value = getattr(spec, name)
        path, colon, function = (value or "").partition(".py:")
        if value and Path(value).is_file():
            changes[name] = os.path.abspath(value)
        elif colon and Path(f"{path}.py").is_file():
            changes[name] = f"{os.path.abspath(path)}.py:{function}"
    return replace(spec, **changes)


def _note_resumed(run: Run, resumed: bool, stale: str | None, progress: Progress) -> None:
    swept = run.sweep()
    if stale:
        progress(Noted(f"the last {stale} ended without finishing"))
    if swept:
        progress(Noted(f"swept {swept} partial files"))
    if resumed:
        progress(Noted(f"resuming {run.path}: {len(run.done())} of {len(run.shards)} shards are done"))


def _note_cost(run: Run, todo: int, progress: Progress) -> None:
    """Say what is to come: the passes, where an image takes more than one, and the bytes of the maps."""
    cost = run.record["cost"]
    if sum(cost.values()) > 1:
        progress(Noted(cost_line(run.record["config"]["method"], cost, todo)))
    progress(Noted(maps_line(maps_record(run))))


def _keep_command(run: Run) -> None:
    """Note the command that goes on with the run."""
    if "command" not in run.record and Path(sys.argv[0]).name == "camaudit":
        command = shlex.join(["camaudit", *sys.argv[1:]])
        write_json(run.path / layout.RUN_JSON, {**run.record, "command": command})
