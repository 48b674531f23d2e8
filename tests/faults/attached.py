"""A scheduler and workers that a command attaches to, each a process of its own that starts in a folder of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

from distributed import Client

from tests.support.forks import FORKS

BLIND = """
import builtins, errno, io, os

def blinded(real):
    def see(path, *more, **how):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(os.environ["HIDDEN"]):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return real(path, *more, **how)
    return see

os.stat = blinded(os.stat)
builtins.open = io.open = blinded(open)

def dask_setup(worker):
    pass
"""
"""For `dask worker --preload`: a machine on which what begins with $HIDDEN is not there."""

AGED = """
import os
from pipelines.run.workers import probe

def aged(real):
    return lambda name: os.environ.get(f"AGED_{name}") or real(name)

probe.version = aged(probe.version)

def dask_setup(worker):
    pass
"""
"""For `dask worker --preload`: a machine with the versions that $AGED_NAME says."""


@dataclass
class Attached:
    """A scheduler that listens on loopback, and the workers that were started for it.

    Attributes:
        file: its connection file.
    """

    folder: Path
    file: Path
    processes: list[BaseProcess] = field(default_factory=list)

    def worker(self, threads: int = 1, preload: str = "", **environment: str) -> BaseProcess:
        """Start a worker, in a folder of its own."""
        own = self.folder / f"worker-{len(self.processes)}"
        own.mkdir()
        (own / "preload.py").write_text(preload or "def dask_setup(worker):\n    pass\n")
        command = ["dask_worker", "--nthreads", str(threads), "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        command += ["--preload", str(own / "preload.py"), "--local-directory", str(own)]
        self.processes.append(self._start(command, own, **environment))
        return self.processes[-1]

    def wait_for(self, workers: int) -> None:
        """Wait until so many have come."""
        with Client(scheduler_file=str(self.file), set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)

    def _start(self, command: list[str], folder: Path, **environment: str) -> BaseProcess:
        told = [*command, "--scheduler-file", str(self.file)]
        process = FORKS.Process(target=_run, args=(told, folder, {**os.environ, **environment}))
        process.start()
        return process

    def end(self) -> None:
        """End all processes."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid or 0, signal.SIGKILL)
            process.join()


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    """What `python -m distributed.cli.NAME ...` does in that folder."""
    os.setsid()
    os.chdir(folder)
    os.environ.update(environment)
    said = os.open("said.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    for number in (1, 2):
        os.dup2(said, number)
    name, *arguments = command
    import_module(f"distributed.cli.{name}").main(arguments)


@contextmanager
def attached(folder: Path) -> Iterator[Attached]:
    """A scheduler without workers; all its processes end with the context."""
    folder.mkdir(exist_ok=True)
    cluster = Attached(folder, folder / "scheduler.json")
    command = ["dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    cluster.processes.append(cluster._start(command, folder))
    try:
        while not cluster.file.exists():
            assert cluster.processes[0].exitcode is None, (folder / "said.txt").read_text()
            time.sleep(0.05)
        yield cluster
    finally:
        cluster.end()
