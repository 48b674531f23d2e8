"""Interventions: what is taken away from an image, which targets are tried, and what the answers say."""

from audit.interventions.outcomes import Drops, claim_outcomes, target_outcomes
from audit.interventions.removals import FILLS, Region, at_input, change, heat_at_input, kept_region, widened
from audit.interventions.suspects import draw_suspects, with_files
from audit.interventions.tried import Tried

__all__ = [
    "FILLS",
    "Drops",
    "Region",
    "Tried",
    "at_input",
    "change",
    "claim_outcomes",
    "draw_suspects",
    "heat_at_input",
    "kept_region",
    "target_outcomes",
    "widened",
    "with_files",
]
