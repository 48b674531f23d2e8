"""Workers of a run into a bucket, killed one after another: what stands in the end is what stands without that."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from bucket import new_bucket, served

from audit.errors import RunError
from audit.store import Run
from faults.campaign.rows import Row
from faults.collection import command, draw_collection, launch, slowly, write_model

SAMPLES, SHARD, WORKERS = 96, 4, 4
_LONGEST_S = 900


def kill_workers(folder: Path, count: int, seed: int, say: Callable[[str], None]) -> Row:
    """Kill so many of the four workers of runs over a drawn collection, SIGKILL each."""
    row, generator = Row("run into a bucket: worker killed"), np.random.default_rng(seed)
    draw_collection(folder, SAMPLES)
    write_model(folder, slowly(0.15))
    plain = command(folder, shard_size=SHARD, workers=WORKERS)
    _end(launch(plain))
    whole = _named(Run.open(folder / "run"))
    with pytest.MonkeyPatch.context() as patch, served(patch) as faults:
        while row.tried < count:
            url = f"{new_bucket(faults).url}/run"
            driver = launch([url if text == str(folder / "run") else text for text in plain])
            kills = sum(1 for _ in _kills(driver, url, count - row.tried, generator))
            failure = _end(driver) or _wrong(url)
            identical = not failure and _named(Run.open(url)) == whole
            for _ in range(max(kills, 1)):
                row.count(failure, identical)
            same = "identical" if identical else "not identical"
            say(f"{row.tried} of {count} workers killed; {failure or 'as promised'}, {same}")
    return row


def _kills(driver: subprocess.Popen[str], url: str, most: int, generator: np.random.Generator) -> Iterator[int]:
    """Kill workers while the run goes on, once its first shard is there."""
    killed = 0
    while driver.poll() is None and killed < most:
        time.sleep(float(generator.uniform(0.5, 3)))
        with suppress(RunError, psutil.Error):
            workers = [child for child in psutil.Process(driver.pid).children(recursive=True) if _is_worker(child)]
            if workers and Run.open(url).ledger.entered():
                workers[int(generator.integers(len(workers)))].kill()
                killed += 1
                yield killed


def _is_worker(process: psutil.Process) -> bool:
    return "spawn_main" in " ".join(process.cmdline())


def _end(driver: subprocess.Popen[str]) -> str:
    """Wait for a command; what is wrong about how it ended."""
    _, said = driver.communicate(timeout=_LONGEST_S)
    return f"exit {driver.returncode}: {said.strip().splitlines()[-1:]}" if driver.returncode else ""


def _wrong(url: str) -> str:
    account, damaged = Run.open(url).account(), [damage.file for damage in Run.open(url).damaged()]
    whole = account.processed + account.failed == account.samples == SAMPLES
    return "" if whole and not damaged else f"{account}, damaged: {damaged}"


def _named(run: Run) -> dict[str, str]:
    """All that the ledger names, with its sha256."""
    return {name: digest for entry in run.ledger.entries().values() for name, digest in entry["artefacts"].items()}
