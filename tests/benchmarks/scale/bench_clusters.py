"""Clusters of a million targets: seconds, and the process's peak memory beside the evidence and the features.

Evidence drawn at random with 20 and with 1000 classes; 64 numbers lie under each target's heat, of four kinds a class.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

import numpy as np

from audit.findings.claims.clustering import cluster_targets
from audit.findings.claims.clusters import cluster_claims
from audit.findings.evidence.targets import Evidence, Features
from tests.benchmarks.scale.bench_findings import FDR, forget_peak, memory_mb
from tests.benchmarks.timing import Row, apart
from tests.support.made_evidence import draw_evidence

TARGETS = 1_000_000
CLASSES = (20, 1000)
LENGTH, KINDS, SHARD = 64, 4, 1000


def measure(rounds: int) -> list[Row]:
    """A row for each number of classes."""
    return [apart(_measure, rounds, classes) for classes in CLASSES]


def _measure(rounds: int, classes: int) -> Row:
    evidence = draw_evidence(TARGETS // 2, classes)
    features = list(_draw_features(evidence, classes))
    held = memory_mb("VmRSS")
    forget_peak()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        claims = cluster_claims(cluster_targets(lambda: features, evidence), evidence, FDR)
        seconds.append(time.perf_counter() - began)
    return {
        "candidate": f"{classes} classes",
        "seconds": seconds,
        "median_s": round(median(seconds), 2),
        "beside_evidence_mb": round(memory_mb("VmHWM") - held),
        "clusters": len(claims),
    }


def _draw_features(evidence: Evidence, classes: int) -> Iterator[Features]:
    rng = np.random.default_rng(2)
    middles = rng.normal(size=(classes, KINDS, LENGTH)).astype(np.float32)
    for start in range(0, len(evidence), SHARD):
        own = slice(start, start + SHARD)
        class_id = evidence.class_id[own]
        kind = rng.integers(0, KINDS, len(class_id))
        under = middles[class_id, kind] + rng.normal(scale=0.5, size=(len(class_id), LENGTH))
        yield evidence.sample[own], evidence.slot[own], under.astype(np.float16)
