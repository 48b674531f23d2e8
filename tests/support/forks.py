"""Processes that start as forks of one that has loaded what they need: loading it takes five seconds each time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager

import dask

FORKS = multiprocessing.get_context("forkserver")
LOADED = [
    *("distributed", "distributed.nanny", "torchvision", "pipelines.run.shards.shard", "pipelines.run.start"),
    *(
        "streamlit.web.cli",
        "streamlit.web.bootstrap",
        "altair",
        "dashboards.app",
        "audit.compare",
        "audit.drawing.targets",
    ),
]
"""What workers and dashboards load; none of it starts a thread of Python's, which a fork would lose."""


@contextmanager
def forked_workers() -> Iterator[None]:
    """Have local clusters of this process fork their workers. These see the environment as it was at the first fork."""
    from distributed.utils import get_mp_context

    with dask.config.set({"distributed.worker.multiprocessing-method": FORKS.get_start_method()}):
        get_mp_context()  # once, it names modules of its own
        FORKS.set_forkserver_preload(LOADED)
        yield
