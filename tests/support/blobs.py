"""Relevance of a few kinds of things, and the evidence of targets that are what a test says and else unremarkable."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings.evidence.targets import Evidence

LENGTH = 32


def make_evidence(class_id: NDArray[np.integer], **columns: Any) -> Evidence:
    """Targets named with confidence on their objects, one a sample, with what the columns say instead."""
    n = len(class_id)
    given: dict[str, Any] = {
        "classes": tuple(f"class{index}" for index in range(int(class_id.max()) + 1)),
        "sample": np.arange(n),
        "slot": np.zeros(n, np.int16),
        "class_id": class_id.astype(np.int32),
        "probability": np.full(n, 0.9, np.float32),
        "named": np.ones(n, bool),
        "off": np.zeros(n, bool),
        "known": np.ones(n, bool),
        "boxed": np.zeros(n, bool),
        "severity": np.zeros(n, np.float32),
        "wrong": np.zeros(n, bool),
        "labelled": np.ones(n, bool),
        "unit": np.arange(n),
        "off_heat": np.full((n, 64), 1 / 64, np.float16),
        "off_area": np.full((n, 64), 1 / 64, np.float16),
        "clear": np.full(n, 2**64 - 1, np.uint64),
        "attributes": {},
        "context": {},
    }
    return Evidence(**(given | columns))


def blobs(rng: np.random.Generator, what: NDArray[np.integer], noise: float = 0.15) -> NDArray[np.float16]:
    """Relevance [n, D] around one direction for each kind of thing, of any strength."""
    middles = np.random.default_rng(0).normal(size=(what.max() + 1, LENGTH))
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    spread = rng.normal(size=(len(what), LENGTH)) * noise / np.sqrt(LENGTH)
    return ((middles[what] + spread) * rng.uniform(0.1, 20, (len(what), 1))).astype(np.float16)
