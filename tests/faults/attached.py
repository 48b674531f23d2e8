"""A scheduler and workers that a command attaches to, each a process of its own that starts in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from distributed import Client

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
import importlib.metadata as metadata, os

def aged(real):
    return lambda name: os.environ.get(f"AGED_{name}") or real(name)

metadata.version = aged(metadata.version)

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
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def worker(self, threads: int = 1, preload: str = "", **environment: str) -> subprocess.Popen[bytes]:
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

    def _start(self, command: list[str], folder: Path, **environment: str) -> subprocess.Popen[bytes]:
        name, *more = command
        with (folder / "said.txt").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{name}", *more, "--scheduler-file", str(self.file)],
                cwd=folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def end(self) -> None:
        """End all processes."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def attached(folder: Path) -> Iterator[Attached]:
    """A scheduler without workers; all its processes end with the context."""
    folder.mkdir(exist_ok=True)
    cluster = Attached(folder, folder / "scheduler.json")
    command = ["dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    cluster.processes.append(cluster._start(command, folder))
    try:
        while not cluster.file.exists():
            assert cluster.processes[0].poll() is None, (folder / "said.txt").read_text()
            time.sleep(0.05)
        yield cluster
    finally:
        cluster.end()
