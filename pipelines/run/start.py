"""The run as a whole: lock, sweep, attribute and score what is pending, flag, give account."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from audit.errors import RunError
from audit.findings import Findings, Rules
from audit.findings.judge import flag
from audit.models import ModelSpec
from audit.models.aimed.kind import Aimed
from audit.models.device import choose_device
from audit.models.nvjpeg import refuse_others
from audit.progress import Noted, Progress, silent, stretch
from audit.store import Run, layout
from audit.store.storage.objects import Place
from audit.store.verdicts.drawn import leave_drawn, take_drawn
from audit.trusted import absolute_name
from pipelines.run.account import cost_line, maps_line, maps_record, status_record
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.scorers import usual_count
from pipelines.run.shards.shard import rescore_shard
from pipelines.run.speed import decide_compiling
from pipelines.run.workers.client import connect
from pipelines.run.workers.probe import Needs
from pipelines.run.workers.schedule import audit, pending, submit_all
from pipelines.terminal import command_line


@dataclass(frozen=True)
class Request:
    """All that `camaudit run` was asked."""

    manifest: Place
    out: Place
    spec: ModelSpec
    config: RunConfig
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    rules: Rules = field(default_factory=Rules)
    threshold: float | None = None
    set_aside: bool = False


@dataclass(frozen=True)
class Audited:
    """A run that was seen to its end, and what there is to tell of it.

    Attributes:
        run: as it lies on disk.
        summary: counts, curve, threshold and findings in short; empty where nothing was scored.
    """

    run: Run
    summary: dict[str, Any]

    @property
    def status(self) -> dict[str, Any]:
        """Its account."""
        return status_record(self.run, check=False)


def start(request: Request, progress: Progress = silent) -> Audited:
    """Begin or resume a run and see it to its end.

    Raises:
        ModelError: a GPU is asked for, or its decoder, and this machine, whose workers were to use it, has none.
    """
    if request.cluster.is_local:  # before anything is laid out
        device = choose_device(request.cluster.device)
        if request.config.jpeg_decoder == "nvjpeg":
            refuse_others(device)
    spec = portable(request.spec)
    plan = prepare(request.manifest, str(request.out), spec, request.config, request.set_aside, progress)
    with plan.run.locked() as stale:
        run = plan.run.amended()  # as it is now: another command may have held it while the model was loaded
        plan = replace(plan, run=run)
        _tell_resumed(run, plan.resumed, stale, run.sweep(), progress)
        _keep_command(run)
        todo = sum(map(len, pending(run)))
        if todo:
            _audit_pending(plan, request.cluster, todo, progress)
        if run.outdated():
            _score(run, request.cluster, progress)
        scored = request.config.scored and run.account().processed > 0
        summary = _flagged(run, request, progress) if scored else {}
        run.sweep()
    return Audited(run, summary)


def _audit_pending(plan: Plan, cluster: ClusterConfig, todo: int, progress: Progress) -> None:
    """Attribute and score the samples to do, on workers."""
    run = plan.run
    cluster = one_a_gpu(cluster)
    task = replace(
        plan.task,
        threads=cluster.threads,
        device=cluster.device,
        numbered=cluster.is_local,
        scorers=_scorers(cluster),
        compiled=_compiling(plan, cluster, todo, progress),
    )
    progress(Noted(_workers_line(cluster)))
    with connect(cluster) as client:
        _tell_cost(run, todo, progress)
        audit(replace(plan, task=task), client, progress, cluster)


def one_a_gpu(cluster: ClusterConfig) -> ClusterConfig:
    """A local cluster with its device found and, unless workers were asked for, one of them for each GPU."""
    if not cluster.is_local:
        return cluster
    device = choose_device(cluster.device).type
    workers = cluster.workers or (torch.cuda.device_count() if device == "cuda" else None)
    return replace(cluster, device=device, workers=workers)


def _scorers(cluster: ClusterConfig) -> int | None:
    """Processes that score beside each worker; None for workers of others to say, who know their device."""
    if cluster.scorers is not None or not cluster.is_local:
        return cluster.scorers
    return usual_count(cluster.device, cluster.local_workers)


def _workers_line(cluster: ClusterConfig) -> str:
    if cluster.is_local:
        return f"starting workers: {cluster.local_workers}"
    return f"asking {cluster.scheduler or cluster.scheduler_file} for workers"


def _flagged(run: Run, request: Request, progress: Progress) -> dict[str, Any]:
    """Findings of the run: those there are if nothing has changed, so that what was made of them stays."""
    findings = Findings(run)
    if findings.current and request.threshold is None and findings.rules() == request.rules:
        return findings.summary() or {}
    return flag(run, request.rules, request.threshold, progress)


def _compiling(plan: Plan, cluster: ClusterConfig, todo: int, progress: Progress) -> bool:
    """Whether the workers compile the network; what a network is aimed at changes from image to image."""
    if isinstance(plan.classifier, Aimed):
        return False
    if cluster.compiling != "auto" or not cluster.is_local or cluster.device == "cuda":
        return cluster.compiling == "always"  # what other machines, and GPUs, gain was not measured
    share = todo / cluster.local_workers
    return decide_compiling(plan.classifier, plan.task.config, share, cluster.threads, progress)


def rescore(
    path: Place, cluster: ClusterConfig, progress: Progress = silent, anew: bool = False, verdicts: bool = False
) -> Audited:
    """Score all finished shards again, then flag with the rules that the run was last flagged with.

    Args:
        anew: whether a scoring that was interrupted is begun again, instead of gone on with.
        verdicts: whether boxes that reviewers drew count as objects where none are listed.
    """
    with Run.open(path).locked():
        run = Run.open(path)
        if not run.done():
            raise RunError(f"{run.path} has no finished shard to score; finish it with `camaudit run`")
        rules = Findings(run).rules()
        run.sweep()
        run = run.amended()
        if anew or not run.rescoring or (verdicts and layout.DRAWN not in run.record["artefacts"]):
            run = (_with_drawn(run, progress) if verdicts else leave_drawn(run)).begin_scoring()
        _score(run, cluster, progress)
        (run.path / layout.REPORT / layout.NULL).unlink(missing_ok=True)
        summary = flag(run, rules, progress=progress)
        run.sweep()
    return Audited(run, summary)


def _with_drawn(run: Run, progress: Progress) -> Run:
    run, count = take_drawn(run)
    progress(Noted(f"boxes that reviewers drew and that count as objects, for the manifest lists none: {count:,}"))
    return run


def _score(run: Run, cluster: ClusterConfig, progress: Progress) -> None:
    """Score the stored maps of finished shards whose scores are out of date, on workers."""
    done = run.done()
    shards = run.unscored(done)
    if len(shards) < len(done):
        scored = f"{len(done) - len(shards)} of {len(done)} shards are done"
        progress(Noted(f"going on with a scoring that was interrupted: {scored}; if masks have changed: --anew"))
    total, todo = sum(map(len, done)), sum(map(len, shards))
    work = partial(rescore_shard, run.address)
    with connect(cluster) as client, stretch(progress, "scoring", total, total - todo):
        needs = Needs(run.address, into_run=True)
        submit_all(client, shards, work, progress, cluster=cluster, needs=needs)
    run.amended(rescoring=False)


def portable(spec: ModelSpec) -> ModelSpec:
    """A spec whose files are named by absolute paths, for workers that start elsewhere."""
    named = {name: getattr(spec, name) for name in ("model", "weights", "arch", "mapping")}
    changes: dict[str, Any] = {name: absolute_name(value) for name, value in named.items() if value}
    return replace(spec, **changes)


def _tell_resumed(run: Run, resumed: bool, stale: str | None, swept: int, progress: Progress) -> None:
    if stale:
        progress(Noted(f"the last {stale} ended without finishing"))
    if swept:
        progress(Noted(f"swept {swept} partial files"))
    if resumed:
        progress(Noted(f"resuming {run.path}: {len(run.done())} of {len(run.shards)} shards are done"))


def _tell_cost(run: Run, todo: int, progress: Progress) -> None:
    """Tell what is to come: the passes, where an image takes more than one, and the bytes of the maps."""
    cost = run.record["cost"]
    if sum(cost.values()) > 1:
        progress(Noted(cost_line(run.record["config"]["method"], cost, todo)))
    progress(Noted(maps_line(maps_record(run))))


def _keep_command(run: Run) -> None:
    """Note the command that goes on with the run."""
    if "command" not in run.record and Path(sys.argv[0]).name == "camaudit":
        run.amended(command=command_line())
