"""Commands killed at random moments, then run to their end: what stands is what stands without that."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from audit.store import Run
from audit.store.storage.files import sha256
from faults.campaign.rows import Row
from faults.collection import command, contents, draw_collection, launch, slowly, write_model

SAMPLES, SHARD = 64, 4
STOP_S = 20
PATIENCE_S = 15
_LONGEST_S = 180
_KILLS_A_CHAIN = 4
SIGNALS = ("TERM", "KILL", "INT", "STOP")
ANSWERS = {"TERM": 143, "INT": 130, "KILL": -9}
"""How a command ends that gets the signal while it works; one that is done before ends with 0."""


@dataclass(frozen=True)
class Scene:
    """A command over a run, and what stands in its folder when it is done.

    Attributes:
        victims: which of its processes are killed.
        attached: whether it uses a cluster of other processes.
    """

    name: str
    verb: list[str]
    folder: Path
    whole: dict[str, str]
    victims: tuple[str, ...] = ("driver", "worker", "group")
    attached: bool = False


def kill_runs(folder: Path, count: int, seed: int, deadline: float, say: Callable[[str], None]) -> list[Row]:
    """Kill so many times, in chains: each scene is killed a few times, then run to its end."""
    generator = np.random.default_rng(seed)
    rows: dict[str, Row] = {}
    say("drawing what is to be killed")
    scenes = _scenes(folder)
    killed = 0
    while killed < count and time.monotonic() < deadline:
        scene = scenes[killed // _KILLS_A_CHAIN % len(scenes)]
        kills = min(_KILLS_A_CHAIN, count - killed)
        chain = _Chain(scene, folder / "chain")
        trials = [
            (victim, sent, chain.kill(victim, sent, generator)) for victim, sent in _drawn(scene, kills, generator)
        ]
        failure, identical = chain.finish()
        for victim, sent, wrong in trials:
            row = rows.setdefault(f"{scene.name}: {victim}", Row(f"{scene.name}: {victim} killed"))
            row.count(f"SIG{sent}: {wrong or failure}" if wrong or failure else "", identical)
        killed += kills
        say(f"{killed} of {count} kills; {scene.name}: {failure or 'as promised'}")
    return [rows[name] for name in sorted(rows)]


def _drawn(scene: Scene, kills: int, generator: np.random.Generator) -> Iterator[tuple[str, str]]:
    for _ in range(kills):
        victim = str(generator.choice(scene.victims))
        yield victim, str(generator.choice(SIGNALS, p=[0.35, 0.35, 0.2, 0.1]))


class _Chain:
    """A copy of a scene's start that is killed some times and then run to its end."""

    def __init__(self, scene: Scene, place: Path) -> None:
        self.scene = scene
        self.place = place
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(scene.folder, place, symlinks=True)

    def kill(self, victim: str, sent: str, generator: np.random.Generator) -> str:
        """Start the command, send a signal at a random moment; returns what is wrong about how it ended."""
        with self._cluster() as cluster:
            process = launch(self._arguments(cluster))
            time.sleep(float(generator.uniform(0.2, 11)))
            _send(victim, sent, process, cluster)
            try:
                _, said = process.communicate(timeout=_LONGEST_S)
            except subprocess.TimeoutExpired:
                _end(process.pid)
                return "it hung"
        return self._ended(victim, sent, process.returncode, said) or self._account()

    def finish(self) -> tuple[str, bool]:
        """Run the command to its end: what is wrong then, and whether all is as without kills."""
        with self._cluster() as cluster:
            process = launch(self._arguments(cluster))
            try:
                _, said = process.communicate(timeout=_LONGEST_S)
            except subprocess.TimeoutExpired:
                _end(process.pid)
                return "it hung at the end", False
        if process.returncode:
            return f"exit {process.returncode} at the end: {said.strip().splitlines()[-1:]}", False
        identical = _standing(self.place) == self.scene.whole
        return "" if identical else "not identical", identical

    def _arguments(self, cluster: _Cluster | None) -> list[str]:
        arguments = [text.replace(str(self.scene.folder), str(self.place)) for text in self.scene.verb]
        return [*arguments, "--scheduler", cluster.address, "--wait", str(PATIENCE_S)] if cluster else arguments

    @contextmanager
    def _cluster(self) -> Iterator[_Cluster | None]:
        if not self.scene.attached:
            yield None
            return
        with _cluster(self.place) as cluster:
            yield cluster

    def _ended(self, victim: str, sent: str, code: int, said: str) -> str:
        if "Traceback" in said:
            return f"a traceback: {said.strip().splitlines()[-1]}"
        hit = victim in ("driver", "group") and sent in ANSWERS
        allowed = {0, ANSWERS[sent]} if hit else {0, 1} if victim in ("scheduler", "nanny") else {0}
        return "" if code in allowed else f"exit {code}: {said.strip().splitlines()[-1:]}"

    def _account(self) -> str:
        """What is wrong with the run as it was left."""
        path = self.place / "run"
        if not (path / "run.json").exists():
            return ""
        account = Run.open(path).account()
        adds_up = account.processed + account.failed + account.pending == account.samples
        damaged = [damage.file for damage in Run.open(path).damaged()]
        return "" if adds_up and not damaged else f"the account does not add up, or {damaged} is damaged"


@dataclass(frozen=True)
class _Cluster:
    """A scheduler and a nanny with its workers, each a process."""

    address: str
    scheduler: int
    nanny: int


@contextmanager
def _cluster(place: Path) -> Iterator[_Cluster]:
    file = place / "scheduler.json"
    file.unlink(missing_ok=True)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--nworkers", "2", "--nthreads", "1"]
    scheduler = subprocess.Popen([*dask, "--no-dashboard", "--scheduler-file", str(file)], **quiet)  # type: ignore[call-overload]
    more = ["--no-dashboard", "--local-directory", str(place), "--host", "127.0.0.1"]
    nanny = subprocess.Popen([*worker, *more, "--scheduler-file", str(file)], **quiet)  # type: ignore[call-overload]
    try:
        while not file.exists():
            time.sleep(0.1)
        yield _Cluster(_address(file), scheduler.pid, nanny.pid)
    finally:
        for process in (nanny, scheduler):
            _end(process.pid)
            process.wait()


def _address(file: Path) -> str:
    return str(json.loads(file.read_text())["address"])


def _send(victim: str, sent: str, process: subprocess.Popen[str], cluster: _Cluster | None) -> None:
    """Send a signal to who is to be hit; a stopped process goes on after a while."""
    number = getattr(signal, f"SIG{sent}")
    for pid in _pids(victim, process, cluster):
        with suppress(ProcessLookupError):
            os.killpg(pid, number) if victim == "group" else os.kill(pid, number)
    if sent == "STOP":
        time.sleep(STOP_S)
        for pid in _pids(victim, process, cluster):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGCONT) if victim == "group" else os.kill(pid, signal.SIGCONT)


def _pids(victim: str, process: subprocess.Popen[str], cluster: _Cluster | None) -> list[int]:
    if victim in ("driver", "group"):
        return [process.pid]
    if victim in ("scheduler", "nanny"):
        assert cluster is not None
        return [getattr(cluster, victim)]
    parent = cluster.nanny if cluster else process.pid
    with suppress(psutil.NoSuchProcess):
        workers = [child for child in psutil.Process(parent).children(recursive=True) if _is_worker(child)]
        return [child.pid for child in workers[:1]]
    return []


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return "spawn_main" in " ".join(process.cmdline())
    return False


def _end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _standing(place: Path) -> dict[str, str]:
    """Digest of all that a finished command leaves: the run's contents, and exports."""
    run = Run.open(place / "run")
    masks = {path.name: sha256(path) for path in (place / "masks").glob("*.png")}
    return contents(run) | masks


def _scenes(folder: Path) -> list[Scene]:
    """Collections with a model, some audited already, each with what stands after its command is done undisturbed."""
    begun = folder / "begun"
    draw_collection(begun, SAMPLES)
    write_model(begun, slowly(0.15))
    run = command(begun, shard_size=SHARD)
    audited = folder / "audited"
    shutil.copytree(begun, audited)
    _undisturbed(run, begun, audited)
    run_of, model = str(audited / "run"), f"{audited / 'model.py'}:build"
    verbs = {
        "score": ["score", run_of, "--workers", "2"],
        "verify": ["verify", run_of, "--model", model, "--targets", "12"],
        "export": ["export", run_of, "--format", "voc-png", "-o", str(audited / "masks"), "--overwrite"],
    }
    scenes = [
        Scene("run", run, begun, _whole(folder, begun, run)),
        Scene("attached run", _attached(run), begun, _whole(folder, begun, run), _OTHERS, attached=True),
    ]
    for name, verb in verbs.items():
        victims = ("driver", "worker", "group") if name == "score" else ("driver", "group")
        scenes.append(Scene(name, verb, audited, _whole(folder, audited, verb), victims))
    return [scenes[place] for place in (0, 1, 2, 0, 1, 3, 0, 1, 4)]


_OTHERS = ("driver", "worker", "nanny", "scheduler")


def _attached(run: list[str]) -> list[str]:
    place = run.index("--workers")
    return [*run[:place], *run[place + 2 :]]


def _whole(folder: Path, scene: Path, verb: list[str]) -> dict[str, str]:
    copy = folder / "whole"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(scene, copy, symlinks=True)
    _undisturbed(verb, scene, copy)
    return _standing(copy)


def _undisturbed(verb: list[str], scene: Path, place: Path) -> None:
    process = launch([text.replace(str(scene), str(place)) for text in verb])
    _, said = process.communicate()
    if process.returncode:
        raise RuntimeError(said)
