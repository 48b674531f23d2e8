"""All that a run says to whoever reads it: two runs that say the same are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from audit.export import findings_record
from audit.findings import Findings
from audit.report.limits import checks_of
from audit.store import Run, layout


def everything(path: Path) -> str:
    """Digest of all numbers, names and sentences that a run's readers get.

    Raises:
        AuditError: something is damaged, and that was noticed.
    """
    digest = hashlib.sha256()
    for part in _parts(Run.open(path)):
        digest.update(part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def flipped(path: Path, count: int, seed: int = 0) -> Iterator[Path]:
    """Flip a bit somewhere in one file of a run after another, and back."""
    generator, files = np.random.default_rng(seed), files_of(path)
    for number in range(count):
        file = files[number % len(files)]
        good = file.read_bytes()
        damaged = bytearray(good)
        damaged[generator.integers(len(good))] ^= 1 << int(generator.integers(8))
        file.write_bytes(damaged)
        yield file
        file.write_bytes(good)


def files_of(path: Path) -> list[Path]:
    """Files of a run that say something: a lock is empty, and a link is what it leads to."""
    files = (file for file in sorted(path.rglob("*")) if file.is_file() and not file.is_symlink())
    return [file for file in files if file.stat().st_size]


def _parts(run: Run) -> Iterator[Any]:
    yield dict(run.record)
    yield asdict(run.account())
    manifest = run.manifest()
    yield [manifest.classes, manifest.root, manifest.mask_kind, manifest.table.to_pylist()]
    yield run.maps(0, run.samples).tobytes()
    for shard in run.done():
        yield run.entry(shard)
        kept = [table for table in layout.PARTS if run.part(table, shard) is not None]
        yield [run.read(table, shard).to_pylist() for table in kept]
    findings = Findings(run)
    yield findings_record(run)
    yield [findings.index().to_pylist(), findings.set_aside().to_pylist()]
    yield [findings.summary(), findings.members().to_pylist(), list(map(asdict, findings.effects().values()))]
    yield list(map(asdict, checks_of(run)))
