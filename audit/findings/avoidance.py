"""Which targets avoid their object: their heat lies on it less than at random places.

A map has 1,024 places, so its p is never below 1/1024. Were all targets alike, a fiftieth of them would have to avoid
their object before one could be told from chance, however many there are. But a model that avoids objects does so in
some classes more than in others. So classes in which more maps lie as badly as one in a hundred places are given more
weight, the others less (independent hypothesis weighting: Ignatiadis, Klaus, Zaugg & Huber 2016). The weights of half
of the images come from the other half, and owe nothing to the p values that they are put on.

Where classes do not differ by more than luck, all weights are 1. Few avoiding maps spread evenly over all classes are
not found then: nothing tells them from chance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audit.stats.multiplicity import weighted_q

RARE = 0.01
"""Share of places up to which a map counts when its class is weighed."""


def q_of_avoidance(
    p_low: NDArray[np.floating], class_id: NDArray[np.integer], image: NDArray[np.integer]
) -> NDArray[np.float64]:
    """q [n] of targets that were named with confidence.

    Args:
        p_low: [n] share of shifts with as little energy on the object or less.
        class_id: [n].
        image: [n] from 0, the same number for targets of one image and of its near-duplicates.
    """
    p, rare = np.asarray(p_low, np.float64), np.asarray(p_low <= RARE)
    first = np.random.default_rng(0).random(int(image.max(initial=0)) + 1)[image] < 0.5
    weight = np.ones(len(p))
    for half in (first, ~first):
        weight[half] = class_weights(class_id[~half], rare[~half], class_id[half])
    return weighted_q(p, weight)


def class_weights(
    class_id: NDArray[np.integer], rare: NDArray[np.bool_], weighed: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Weights [m], 1 on average, of other targets: as the share of rare maps in their class exceeds that of luck.

    The classes' shares are drawn together to that of all classes, the more the less they differ by more than luck
    (Efron & Morris 1975); they stay there until they differ twice as much.

    Args:
        class_id, rare: [n] of the targets that tell.
        weighed: [m] class of those that are weighed.
    """
    classes = int(max(class_id.max(initial=0), weighed.max(initial=0))) + 1
    of, count = (np.bincount(class_id, values, classes) for values in (None, rare))
    together = count.sum() / max(of.sum(), 1)
    share = np.divide(count, of, out=np.full(classes, together), where=of > 0)
    spread = float((of * (share - together) ** 2).sum())
    luck = (np.count_nonzero(of) - 1) * together * (1 - together)
    kept = max(0.0, 1 - 2 * luck / spread) if spread > 0 else 0.0
    excess = np.maximum(together - RARE + kept * (share - together), 0)[weighed]
    return excess / excess.mean() if excess.any() else np.ones(len(weighed))
