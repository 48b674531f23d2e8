"""Small collections, a tiny model that misbehaves on a colour, and runs over them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from distributed import Client
from numpy.typing import NDArray
from PIL import Image

from audit.datasets.manifest import Manifest, Sample
from audit.findings import Rules
from audit.findings.judge import flag
from audit.models import ModelSpec
from audit.store import Run, layout
from pipelines import cli
from pipelines.run.config import RunConfig
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.shard import Finished, Stopped, audit_shard
from pipelines.run.workers.schedule import pending

CLASSES = ("disc", "box", "bar")
CONFIG = RunConfig(shard_size=4, batch_size=4)
BAD, GLOW, BLANK = (255, 0, 255), (0, 255, 255), (255, 255, 0)
"""Pictures of one of these colours make the tiny model do what its trap says."""

MODEL = """
import os, signal, time
import multiprocessing
import torch
from torch import nn


def painted(x, colour):
    return (x - torch.tensor(colour).view(1, 3, 1, 1)).abs().flatten(1).amax(dim=1) < 0.01


class Trunk(nn.Sequential):
    def forward(self, x):
        bad, glow, blank = (painted(x, c).view(-1, 1, 1, 1) for c in ((1., 0., 1.), (0., 1., 1.), (1., 1., 0.)))
        {trap}
        return super().forward(x) * ~blank


class Tiny(nn.Module):
    # Knows a class by its colour: red, green or blue.

    def __init__(self):
        super().__init__()
        self.trunk = Trunk(nn.AvgPool2d(4), nn.Conv2d(3, 3, 1), nn.ReLU())
        self.head = nn.Linear(3, 3)
        noise = torch.Generator().manual_seed({seed})
        with torch.no_grad():
            self.trunk[1].weight.copy_((3 * torch.eye(3) - 1).view(3, 3, 1, 1))
            self.trunk[1].bias.zero_()
            self.head.weight.copy_(60 * torch.eye(3) + torch.rand(3, 3, generator=noise))
            self.head.bias.zero_()

    def forward(self, x):
        return self.head(self.trunk(x).mean(dim=(2, 3)))


def build():
    {on_build}
    return Tiny()
"""

_ON_THE_WAY = ("loading ", "laying out ", "starting workers", "asking ")

KILL = "if bad.any(): os.kill(os.getpid(), signal.SIGKILL)"
HOARD = "hoard = [torch.ones(2**24) for _ in range(2**9) if bad.any() and not time.sleep(0.01)]"
RAISE = "if bad.any(): raise KeyError('bad colour')"
NUMBERS = "x = torch.where(bad, torch.nan, torch.where(glow, torch.inf, x))"


def slowly(seconds: float) -> str:
    """A trap that makes every batch take a while."""
    return f"time.sleep({seconds})"


def write_model(folder: Path, trap: str = "pass", seed: int = 0, on_build: str = "pass") -> ModelSpec:
    """Write the tiny model; its input is 32 x 32, squashed, in 0..1."""
    path = folder / "model.py"
    path.write_text(MODEL.format(trap=trap, seed=seed, on_build=on_build))
    zero, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return ModelSpec(f"{path}:build", layer="trunk", size=32, mode="squash", mean=zero, std=one)


def draw_collection(folder: Path, count: int, seed: int = 0) -> Path:
    """Draw pictures with one object each, and masks with a void rim; returns the manifest.

    The mask of every fourth lies elsewhere, so that there is something to find.
    """
    rng = np.random.default_rng(seed)
    samples = [draw_sample(folder, f"{index:03d}", rng, index % 4 == 3) for index in range(count)]
    return Manifest.from_samples(samples, CLASSES, folder).save(folder / "manifest.parquet")


def draw_sample(folder: Path, name: str, rng: np.random.Generator, elsewhere: bool = False) -> Sample:
    """One noisy picture of 40 x 48 pixels with a coloured square, and a mask of it or of another place."""
    label = int(rng.integers(len(CLASSES)))
    top, left = (int(place) for place in rng.integers(2, 8, 2))
    picture = rng.integers(0, 90, (40, 48, 3), dtype=np.uint8)
    picture[top : top + 14, left : left + 14, label] += 120
    mask = np.zeros((40, 48), np.uint8)
    top, left = (top + 16, left + 16) if elsewhere else (top, left)
    mask[top - 1 : top + 15, left - 1 : left + 15] = 255
    mask[top : top + 14, left : left + 14] = label + 1
    save(folder / f"{name}.png", picture)
    save(folder / f"{name}-mask.png", mask)
    return Sample(name, f"{name}.png", (label,), f"{name}-mask.png")


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture or an index mask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def paint(path: Path, colour: tuple[int, int, int]) -> None:
    """Make a picture all one colour."""
    save(path, np.full((40, 48, 3), colour, np.uint8))


def planned(folder: Path, count: int = 10, config: RunConfig = CONFIG, trap: str = "pass") -> Plan:
    """A collection, a model and a run over them that is laid out at `folder`/run."""
    manifest = draw_collection(folder, count)
    return prepare(str(manifest), str(folder / "run"), write_model(folder, trap), config)


def resumed(plan: Plan, out: Path | None = None, config: RunConfig = CONFIG, **changes: Any) -> Plan:
    """The same run, or a copy of it at `out`, taken up again."""
    folder = plan.run.path.parent
    return prepare(str(folder / "manifest.parquet"), str(out or plan.run.path), plan.task.spec, config, **changes)


def audit_here(plan: Plan) -> list[Finished | Stopped]:
    """Do all pending shards in this process, without workers, and flag."""
    ends = [audit_shard(plan.task, shard) for shard in pending(plan.run)]
    plan.run.sweep()
    flag(plan.run, Rules())
    return ends


def finished(folder: Path, count: int = 10, config: RunConfig = CONFIG, trap: str = "pass") -> Plan:
    """A finished run over a fresh collection."""
    plan = planned(folder, count, config, trap)
    assert all(isinstance(end, Finished) for end in audit_here(plan))
    return plan


def again(plan: Plan, **changes: Any) -> Plan:
    """The plan with changes to its task."""
    return replace(plan, task=replace(plan.task, **changes))


def contents(run: Run) -> dict[str, str]:
    """Digest of every file of maps, tables, findings and summary: equal runs have equal contents, and no other file."""
    places = (layout.MAPS, *layout.PARTS, layout.FINDINGS, layout.SUMMARY)
    files = [path for place in places for path in sorted((run.path / place).rglob("*")) or [run.path / place]]
    return {str(path.relative_to(run.path)): sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}


def statuses(run: Run) -> dict[str, str | None]:
    """Why each sample failed, by id; None where it did not."""
    rows = [row for shard in run.done() for row in run.read("samples", shard).to_pylist()]
    return {row["id"]: row["reason"] for row in rows}


def command(folder: Path, *more: str, out: str = "run", shard_size: int = 4, workers: int = 2) -> list[str]:
    """The arguments of `camaudit run` over a drawn collection with the model that lies there."""
    model = ["--model", f"{folder / 'model.py'}:build", "--layer", "trunk", "--size", "32", "--fit", "squash"]
    normal = ["--mean", "0,0,0", "--std", "1,1,1", "--batch-size", "4", "--shard-size", str(shard_size)]
    place = ["-o", str(folder / out), "--workers", str(workers)]
    return ["run", str(folder / "manifest.parquet"), *model, *normal, *place, *more]


def camaudit(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["camaudit", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def refusals(said: str) -> list[str]:
    """The lines on standard error but for those about what is being done."""
    return [line for line in said.strip().splitlines() if not line.startswith(_ON_THE_WAY)]


def account(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `camaudit status --json` says, after checking that it adds up."""
    capsys.readouterr()
    assert camaudit(["status", str(path), "--json"], monkeypatch) == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert record["processed"] + record["failed"] + record["pending"] == record["samples"]
    return record


@contextmanager
def connected(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let runs of this process use a cluster that is there."""

    @contextmanager
    def connect(_config: object) -> Iterator[Client]:
        yield client

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.run.start.connect", connect)
        yield


def launch(arguments: list[str], first: str = "pass") -> subprocess.Popen[str]:
    """Start the command line in a process group of its own, as a terminal does; `first` is a statement before it."""
    code = f"import sys; sys.argv[0] = 'camaudit'; {first}; from pipelines.__main__ import main; main()"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        start_new_session=True,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(true: Callable[[], bool], seconds: float, what: str, every_s: float = 0.02) -> None:
    """Poll until something is true, or fail."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(every_s)


def no_process_is_left_of(group: int, seconds: float = 10) -> None:
    """Wait for every process of a group to end."""

    def gone() -> bool:
        return not any(_group(process.pid) == group for process in psutil.process_iter(["status"]) if _lives(process))

    wait_until(gone, seconds, f"processes of group {group} to end")


def _lives(process: psutil.Process) -> bool:
    return bool(process.info["status"] != psutil.STATUS_ZOMBIE)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
