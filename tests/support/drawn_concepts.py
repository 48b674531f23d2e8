"""Concepts of the small run, written by hand as `camaudit units --concepts` writes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from audit.concepts.kept import About, Concept, Concepts, Kept, hex_maps
from audit.findings import Findings
from audit.store import Run

ASKED: dict[str, Any] = {"count": 2, "way": "nmf"}


def keep_drawn(run: Run, about: About, places: int = 2) -> Kept:
    """Concepts of a claim or class, shown by two samples each, the first a word to it."""
    return Concepts(Findings(run)).write(about, ASKED, [drawn(run, about, place) for place in range(1, places + 1)])


def drawn(run: Run, about: About, place: int, **changes: Any) -> Concept:
    """One of them."""
    height, width = run.record["grid"]
    maps = np.zeros((2, height, width))
    maps[:, place, place] = 1
    near = [{"word": "a logo", "score": 0.2, "margin": 0.03}, {"word": "rails", "score": 0.1, "margin": -0.01}]
    row: dict[str, Any] = {
        "claim_id": about.claim_id,
        "class_name": about.class_name,
        "way": "nmf",
        "place": place,
        "worth": 4.0 / place,
        "logit": 6.5,
        "cosine": 0.98 if place == 1 else None,
        "images": 20,
        "error": 0.125,
        "patches": {"targets": [[0, 0, 47], [2, 0, 47]], "maps": hex_maps(maps)},
        "words": {"by": "tiny", "nearest": near} if place == 1 else {},
    }
    return Concept(**row | changes)
