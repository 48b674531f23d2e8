"""The only maker of a Dask client: a local cluster on loopback, or an existing scheduler."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster, Security

from audit.errors import RunError
from pipelines.interrupts import whole
from pipelines.run.config import ClusterConfig

_SETTINGS: dict[str, Any] = {
    # What a worker's death means, and how long to wait for another, is for `crew.py` and `quarantine.py` to say.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.no-workers-timeout": None,
    # Else a local worker that dies twice in this time is given up where it is just being started again.
    "distributed.deploy.lost-worker-timeout": "365 days",
    "distributed.comm.timeouts.connect": "20s",
    # A long batch may hold the interpreter; that is no reason to restart the worker.
    "distributed.scheduler.worker-ttl": None,
    "distributed.admin.system-monitor.gil.enabled": False,
    # There is no way to do without the servers; nothing is to be had from them.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}


@contextmanager
def connect(config: ClusterConfig) -> Iterator[Client]:
    """A client for the configured cluster; a local one ends with the context.

    That an existing scheduler has no workers yet is for `crew.py` to see.

    Raises:
        RunError: the existing scheduler does not answer within `config.timeout_s`.
    """
    with dask.config.set(_SETTINGS), _local(config) if config.is_local else _existing(config) as client:
        yield client


@contextmanager
def _local(config: ClusterConfig) -> Iterator[Client]:
    """Workers of this machine. Who has not the run's certificates can talk to none of its processes."""
    with tempfile.TemporaryDirectory(prefix="camaudit-") as scratch, ExitStack() as stack:
        stack.enter_context(dask.config.set({"temporary-directory": scratch}))
        with whole():
            security = Security.temporary()
            cluster = _start(config, security, scratch)
            stack.push(_closing(cluster))
            client = Client(cluster, security=security)
            stack.push(_closing(client))
        yield client


def _start(config: ClusterConfig, security: Security, scratch: str, attempts: int = 2) -> LocalCluster:
    try:
        return LocalCluster(
            n_workers=config.local_workers,
            threads_per_worker=config.local_shards,
            processes=True,
            host="127.0.0.1",
            security=security,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=config.memory or "auto",
            local_directory=scratch,
            silence_logs=logging.CRITICAL,
        )
    except Exception as error:  # whatever ends a process that is not yet a worker
        if attempts > 1:  # one that is lost as it starts takes those beside it along
            return _start(config, security, scratch, attempts - 1)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"{config.local_workers} workers did not start ({reason}); try again, with more --memory or fewer --workers"
        ) from None


def _closing(what: LocalCluster | Client) -> Callable[..., None]:
    """An exit that no signal cuts through: it leaves no process and no file."""

    def close(*_error: object) -> None:
        with whole():
            what.close()

    return close


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
        yield client
