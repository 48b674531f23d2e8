"""All claims of a run: zones, spots, other classes and groups, each family under its own false discovery rate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.findings.context import context_claims
from audit.findings.contrasts import FEWEST, LEAST, Row
from audit.findings.evidence import Evidence
from audit.findings.frames import Counted, counted
from audit.findings.groups import MOST_VALUES, group_claims, too_fine
from audit.findings.spots import spot_claims
from audit.findings.zones import zone_claims


class Claims(NamedTuple):
    """What holds of more than one target.

    Attributes:
        rows: of `audit.store.layout.CLAIM`: found ones first within a family, and those that are none though their p,
            by itself, is at or below the level. `tested` counts the others.
        untested: sentences on what was left out and why.
    """

    rows: list[Row]
    untested: list[str]


def all_claims(evidence: Evidence, level: float = 0.05, least: float = LEAST) -> Claims:
    """Test all families.

    Args:
        level: false discovery rate of each family.
        least: how far a share must exceed the one it is compared with.

    Raises:
        ValueError: if either is not between 0 and 1.
    """
    for name, value in (("level", level), ("least", least)):
        if not 0 < value < 1:
            raise ValueError(f"Expected `{name}` between 0 and 1, got {value}")
    votes = counted(evidence)
    by_place = (family(evidence, votes, level, least) for family in (zone_claims, spot_claims, context_claims))
    rows = [row for family in by_place for row in family]
    return Claims(rows + group_claims(evidence, level, least), _untested(evidence, votes))


def _untested(evidence: Evidence, votes: Counted) -> list[str]:
    few = np.flatnonzero((votes.images > 0) & (votes.images < FEWEST))
    fine = [f"attribute {name} ({count})" for name, count in too_fine(evidence).items()]
    said = [f"Not compared, with more than {MOST_VALUES} values: {name}" for name in fine]
    if len(few):
        names = ", ".join(evidence.classes[i] for i in few[:5]) + (", ..." if len(few) > 5 else "")
        count = f"{len(few)} class{'' if len(few) == 1 else 'es'}"
        said.insert(0, f"Not tested, with fewer than {FEWEST} confidently named images: {count} ({names})")
    return said + _alone(evidence.classes, votes.images)


def _alone(classes: tuple[str, ...], images: NDArray[np.int64]) -> list[str]:
    """A sentence on the class, if there is one, that has images enough while the others together have not."""
    lone = np.flatnonzero((images >= FEWEST) & (images.sum() - images < FEWEST))
    why = "it is the only class" if len(classes) == 1 else f"fewer than {FEWEST} images of others are named confidently"
    return [f"Not compared with other classes: {classes[i]}; {why}" for i in lone]
