"""Which targets to look at first where no object is known: a ranking, not a test.

Without a mask nobody knows what lies off the object. Known are where the heat lies in the frame, where maps of the
class and of the other classes have it, whether the label agrees, and sometimes what the quick check took.
Objects are photographed inside the frame, marks are often put at its border; and where one class alone has much heat,
something of that class alone lies there. So a target is odd whose heat lies at the border, and where its class has more
of it, than that of other classes' targets does.

It must fail where objects of a class are usual at the border, or in one place, for they draw heat as a mark does; and
where a cue lies anywhere, for its heat is in no place of its own. The figures are in docs/benchmarks.md.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from audit.findings.claims.votes import class_sums
from audit.findings.evidence.frame import BLOCK, PARTS

_BORDER = PARTS["border"].ravel()
_CORNERS = np.stack([part.ravel() for name, part in PARTS.items() if name.endswith("corner")], axis=1)
_CELLS = len(_BORDER)
PRIOR = 5
"""Maps like those of the other classes that are added to a class's own: a few maps show no place of their own."""
LEAST = 0.05 / _CELLS
"""Added to the mean heat of each cell: where none lies nothing can be compared."""


class Oddness(NamedTuple):
    """How much targets [n] ask to be looked at; all float32, 0..1.

    Attributes:
        oddness: what they are ranked by.
        border, corner, spread, place: share of the other classes' targets that have less of it; see `shares_of_heat`
            and `own_places`.
    """

    oddness: NDArray[np.float32]
    border: NDArray[np.float32]
    corner: NDArray[np.float32]
    spread: NDArray[np.float32]
    place: NDArray[np.float32]


def rank_without_masks(
    heat: NDArray[np.floating],
    class_id: NDArray[np.integer],
    probability: NDArray[np.floating],
    wrong: NDArray[np.bool_],
    quick: NDArray[np.floating],
) -> Oddness:
    """Rank targets by what needs no mask.

    The mean of `border` and `place` counts, and where the quick check was made the mean of that and what it took. Where
    the image's labels have not the class that was predicted, the probability counts if that is more. A class that
    is named with less than even odds counts for less, in proportion: what is hardly named needs no explanation.

    Args:
        heat: [n, 64] share of a map's heat by cell of the frame, row by row; of any sum; NaN for a map without heat.
        class_id, probability: [n].
        wrong: [n] whether the sample has labels, and the class with the highest probability is none of them.
        quick: [n] quick reliance, -1..1; NaN where it was not measured.
    """
    measured = (*shares_of_heat(heat), own_places(heat, class_id))
    border, corner, spread, place = (beside_others(values, class_id) for values in measured)
    where = (border + place) / 2
    told = np.where(np.isnan(quick), where, (where + np.clip(quick, 0, 1)) / 2)
    odd = np.minimum(2 * probability, 1) * np.maximum(told, wrong * probability)
    return Oddness(*(np.asarray(values, np.float32) for values in (odd, border, corner, spread, place)))


def shares_of_heat(heat: NDArray[np.floating]) -> NDArray[np.float32]:
    """Of maps [n, 64]: share of the heat in the outer ring of cells, in the hottest corner, and its spread: [3, n].

    The spread is the entropy over the cells by that of an even map. A map without heat has 0 of each.
    """
    shares = np.zeros((3, len(heat)), np.float32)
    for start in range(0, len(heat), BLOCK):
        cells = _even(heat[start : start + BLOCK])
        logs = np.log(cells, out=np.zeros_like(cells), where=cells > 0)
        spread = -(cells * logs).sum(axis=1) / np.log(_CELLS)
        shares[:, start : start + BLOCK] = cells[:, _BORDER].sum(axis=1), (cells @ _CORNERS).max(axis=1), spread
    return shares


def own_places(heat: NDArray[np.floating], class_id: NDArray[np.integer]) -> NDArray[np.float32]:
    """How much the heat of maps [n, 64] lies where others of their class have more than other classes do: [n].

    The mean, over the map's heat, of the log of the class's mean heat in a cell by that of the other classes. The map
    itself is left out of its class, and `PRIOR` maps like those of the other classes are added. 0 where there is no
    other class.
    """
    classes = int(class_id.max(initial=-1)) + 1
    blocks = [slice(start, start + BLOCK) for start in range(0, len(heat), BLOCK)]
    sums = sum((class_sums(class_id[rows], _even(heat[rows]), classes) for rows in blocks), np.zeros((classes, _CELLS)))
    count = np.bincount(class_id, minlength=classes)[:, None]
    of_others = (sums.sum(axis=0) - sums) / np.maximum(len(heat) - count, 1)
    own = np.zeros(len(heat), np.float32)
    for rows in blocks:
        cells, ids = _even(heat[rows]), class_id[rows]
        means = (sums[ids] - cells + PRIOR * of_others[ids]) / (count[ids] - 1 + PRIOR)
        more = np.log((means + LEAST) / (of_others[ids] + LEAST))
        own[rows] = np.where(count[ids, 0] < len(heat), (cells * more).sum(axis=1), 0)
    return own


def beside_others(values: NDArray[np.floating], class_id: NDArray[np.integer]) -> NDArray[np.float64]:
    """Share of the other classes' targets [n] that have a lower value, ties counted half; 0.5 where there is no other.

    >>> beside_others(np.array([0.1, 0.9, 0.5, 0.5]), np.array([0, 0, 1, 1])).tolist()
    [0.0, 1.0, 0.5, 0.5]
    """
    of_class = pd.Series(values).groupby(class_id)
    own, count = of_class.rank().to_numpy(), of_class.transform("size").to_numpy()
    others = len(values) - count
    below: NDArray[np.float64] = np.full(len(values), 0.5)
    np.divide(scipy.stats.rankdata(values) - own, others, out=below, where=others > 0)
    return below


def _even(heat: NDArray[np.floating]) -> NDArray[np.float32]:
    """Maps [n, 64], each with a sum of 1, or 0 without heat."""
    cells = np.nan_to_num(np.asarray(heat, np.float32))
    return np.asarray(cells / np.maximum(cells.sum(axis=1, keepdims=True), np.float32(1e-6)), np.float32)
