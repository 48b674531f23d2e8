"""Claims from a million targets: seconds of each family, and the process's peak memory beside the evidence.

Evidence drawn at random with 1000 classes, and a spot planted in twenty of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from audit.findings.claims.registry import CLAIM_KINDS, all_claims
from audit.findings.claims.votes import count_votes
from audit.findings.evidence.targets import Evidence
from tests.benchmarks.timing import Row, apart
from tests.support.made_evidence import CELLS, draw_evidence, material, plant_heat

TARGETS = 1_000_000
CLASSES = 1000
PLANTED = 20
FDR = 0.05


def measure(rounds: int) -> list[Row]:
    """A row for each family by itself, and one for all of them."""
    return apart(_measure, rounds)


def _measure(rounds: int) -> list[Row]:
    evidence = _evidence()
    held = memory_mb("VmRSS")
    made = material(evidence)
    families: dict[str, Callable[[], object]] = {"votes": lambda: count_votes(evidence)}
    families |= {
        name: partial(kind.test, made) for name, kind in CLAIM_KINDS.items() if name not in ("class", "cluster")
    }
    families |= {"all_claims": lambda: all_claims(material(evidence))}
    return [_row(name, family, rounds, held) for name, family in families.items()]


def _row(name: str, family: Callable[[], object], rounds: int, held: float) -> Row:
    forget_peak()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        family()
        seconds.append(time.perf_counter() - began)
    more = round(memory_mb("VmHWM") - held)
    return {"candidate": name, "seconds": seconds, "median_s": round(median(seconds), 2), "beside_evidence_mb": more}


def _evidence() -> Evidence:
    evidence = draw_evidence(TARGETS // 2, CLASSES, groups=(50, 20, 5, 2))
    corner = np.zeros((CELLS, CELLS), bool)
    corner[-1, -1] = True
    chosen = np.random.default_rng(1).random(TARGETS) < 0.8
    return plant_heat(evidence, np.flatnonzero((evidence.class_id < PLANTED) & chosen), corner)


def forget_peak() -> None:
    """Let the most that the process held begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def memory_mb(name: str) -> float:
    """What Linux keeps for the process: VmRSS, what it holds, or VmHWM, the most it held."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
