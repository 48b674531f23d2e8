"""The only maker of a Dask client: a local cluster on loopback, or an existing scheduler."""

from __future__ import annotations

import logging
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path

import dask
from distributed import Client, LocalCluster

from audit.errors import RunError
from pipelines.run.config import ClusterConfig

ALLOWED_FAILURES = 2
"""Worker deaths that a task survives; at the next it is given up and its shard looked at sample by sample."""

_SETTINGS = {
    "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
    "distributed.scheduler.no-workers-timeout": "60s",
    "distributed.comm.timeouts.connect": "20s",
    # A long batch may hold the interpreter; that is no reason to restart the worker.
    "distributed.scheduler.worker-ttl": None,
    "distributed.admin.system-monitor.gil.enabled": False,
}


@contextmanager
def connect(config: ClusterConfig) -> Iterator[Client]:
    """A client for the configured cluster; a local one ends with the context.

    Raises:
        RunError: the existing scheduler does not answer, or has no workers, within `config.timeout_s`.
    """
    with dask.config.set(_SETTINGS):
        if config.scheduler or config.scheduler_file:
            with _existing(config) as client:
                yield client
        else:
            with _local(config) as client:
                yield client


@contextmanager
def _local(config: ClusterConfig) -> Iterator[Client]:
    with tempfile.TemporaryDirectory(prefix="camaudit-") as scratch:
        with _deaf_to_ctrl_c():
            cluster = LocalCluster(
                n_workers=config.local_workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                memory_limit=config.memory or "auto",
                local_directory=scratch,
                silence_logs=logging.CRITICAL,
            )
        with cluster, Client(cluster) as client:
            yield client


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Threads and processes started meanwhile never get the terminal's Ctrl-C; this thread gets it afterwards.

    A terminal sends it to all processes: workers would die of it, where the run wants to let them finish.
    """
    resource_tracker.ensure_running()  # its start, at the first process, would open the ears again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _existing(config: ClusterConfig) -> Iterator[Client]:
    where = config.scheduler or config.scheduler_file
    if config.scheduler_file and not Path(config.scheduler_file).exists():  # the client would wait for it for ever
        raise RunError(f"No connection file of a scheduler at {where}; start the scheduler first")
    for name in ("distributed", "distributed.client"):  # a lost scheduler is told in one line, not by its tracebacks
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(
            address=config.scheduler,
            scheduler_file=config.scheduler_file,
            timeout=config.timeout_s,
            set_as_default=False,
        )
    except (OSError, ValueError) as error:
        raise RunError(f"No scheduler answers at {where} within {config.timeout_s:.0f} s ({error})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=config.timeout_s)
        except TimeoutError:
            raise RunError(
                f"The scheduler at {where} has no workers after {config.timeout_s:.0f} s; start some, then try again"
            ) from None
        yield client
