"""Freed memory is used again, however the process was started."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

ALLOCATIONS = """
import resource
import numpy as np
from pipelines.run.shards.memory import keep_freed_memory

def faults():
    np.ones(1 << 17), np.ones(1 << 17)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        np.ones(1 << 17)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), keep_freed_memory(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators cannot be told")
def test_arrays_of_a_megabyte_are_mapped_once_even_where_dask_has_asked_to_give_memory_back() -> None:
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATIONS], env=environment, capture_output=True, text=True, check=True
    )
    before, kept, after = done.stdout.split()
    assert kept == "True"
    assert int(before) > 100 * 200  # each array's pages again
    assert int(after) < 100
