"""Concepts as people see them: patches, and the whole images with where a concept is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.concepts.channels import write_sheet
from audit.concepts.kept import Concept, Kept
from audit.concepts.patches import TILE, PatchReader
from audit.concepts.sheets import Strip
from audit.findings.channels import PATCHES


def concept_tiles(
    concept: Concept, reader: PatchReader, most: int = PATCHES, tile: int = TILE
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """A concept's patches, and as many whole images with where it is, [tile, tile, 3] each; those that can be read.

    Args:
        most: patches at most.
    """
    height, width = reader.run.record["grid"]
    pairs = list(zip(concept.targets, concept.maps((height, width)), strict=True))[:most]
    seen = [  # both of a target at once: no reader holds all the images
        (patch, whole)
        for target, heat in pairs
        if (patch := reader.patch(target, tile)) is not None
        and (whole := reader.overlay(target[0], heat, tile)) is not None
    ]
    return [patch for patch, _ in seen], [whole for _, whole in seen]


def tell_concepts(kept: Kept, reader: PatchReader) -> dict[str, Any]:
    """Draw the sheet of a class's or claim's concepts, and say what there is to tell as plain values."""
    strips = [strip for concept in kept.concepts for strip in _strips(concept, reader)]
    sheet = write_sheet(reader.run, f"concepts {kept.about.name}", strips)
    return {
        "of": kept.about.name,
        "sheet": str(sheet) if sheet else None,
        "concepts": [concept.plain() for concept in kept.concepts],
    }


def _strips(concept: Concept, reader: PatchReader) -> Sequence[Strip]:
    lines = [f"without it the logit falls by {concept.worth:.2f}", f"of {concept.logit:.2f}", concept.drawn]
    patches, wholes = concept_tiles(concept, reader)
    return Strip(f"concept {concept.place}", lines, patches), Strip("", ["where it is"], wholes)
