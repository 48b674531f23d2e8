"""The evidence of a finding in plain words, for people who know the data and no statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from audit.findings.evidence.frame import where_heat_lies
from audit.wording import percent

_LEAST = 0.005
"""What rounds to 0 %."""


def explain_targets(
    off_heat: NDArray[np.floating],
    energy: NDArray[np.floating],
    p_high: NDArray[np.floating],
    attainable: NDArray[np.floating],
    probability: NDArray[np.floating],
    class_names: Sequence[str],
    kinds: Sequence[str],
    quick: NDArray[np.floating],
) -> list[str]:
    """Say where each map's heat lies and what chance would do; all [n].

    Args:
        off_heat: [n, 64] share of the heat off the object in each of the frame's 8 x 8 cells, row by row.
        energy: share of the heat on the object.
        p_high: share of random places that do as well on the object.
        attainable: the highest energy of any place.
        kinds: of the findings, of `KINDS`.
        quick: quick reliance; NaN where it was not measured.

    >>> corner = np.zeros((1, 64))
    >>> corner[0, -1] = 0.8
    >>> explain_targets(corner, [0.1], [0.97], [0.6], [0.99], ["disc"], ["indifferent"], [0.9])[0]
    'disc, named with 99 %: 80 % of the heat lies off the object in the bottom-right corner, 10 % on the object where \
60 % would be possible; 97 % of random places would do as well. With its background scattered 90 % of the \
probability is lost.'
    """
    places, shares = where_heat_lies(off_heat)
    columns = (places, shares, energy, p_high, attainable, probability, class_names, kinds, quick)
    return [_explain(*row) for row in zip(*columns, strict=True)]


def _explain(
    place: str,
    share: float,
    energy: float,
    p_high: float,
    attainable: float,
    probability: float,
    class_name: str,
    kind: str,
    quick: float,
) -> str:
    named = f"{class_name}, named with {percent(probability)}: {percent(share)} of the heat lies"
    if kind == "detected":
        return f"{named} {place}, as where the model looks off objects that are known; this one has no mask."
    chance = "nearly every random place would do better" if kind == "avoids" else _chance(p_high)
    on_object = f"{percent(energy)} on the object where {percent(attainable)} would be possible"
    return f"{named} off the object {place}, {on_object}; {chance}.{_lost(quick)}"


def _lost(quick: float) -> str:
    if np.isnan(quick):
        return ""
    share = percent(quick) if quick >= _LEAST else "nothing"
    return f" With its background scattered {share} of the probability is lost."


def _chance(p_high: float) -> str:
    if p_high <= 0.01:
        return "hardly any random place would do as well"
    return f"{percent(p_high)} of random places would do as well"
