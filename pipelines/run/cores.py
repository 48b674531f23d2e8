"""How many cores this process may use."""

from __future__ import annotations


def usable_cores() -> int:
    """Cores that its affinity and its container's quota of CPU leave this process, where the machine may have more.

    What schedulers give to a job is no more than that: threads and processes beyond it only take turns.
    """
    from dask.system import cpu_count  # here, for the command line shows its options without dask

    return max(cpu_count(), 1)
