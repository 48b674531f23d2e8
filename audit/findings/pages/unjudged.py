"""Why a run has no findings though it was flagged: nothing in it could be compared with an object."""

from __future__ import annotations

from collections.abc import Mapping

from audit.wording import number


def why_unjudged(scores: Mapping[str, int]) -> str:
    """Why no target was judged, as a sentence without its full stop; empty where some were.

    >>> why_unjudged({"no_mask": 1200, "bad_mask": 3})
    'No map could be compared with its object (no mask: 1,200, bad mask: 3), so no image and no class was judged'
    >>> why_unjudged({"scored": 1, "no_mask": 5})
    ''

    Args:
        scores: number of targets by the status of their scores.
    """
    if scores.get("scored"):
        return ""
    if not scores:
        return "No sample has a map, so no image and no class was judged"
    why = ", ".join(f"{status.replace('_', ' ')}: {number(count)}" for status, count in scores.items())
    return f"No map could be compared with its object ({why}), so no image and no class was judged"
