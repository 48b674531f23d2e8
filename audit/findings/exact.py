"""Does a class show something more often than the other classes? Label permutation in closed form.

Were class labels independent of what the maps show, every way to hand them out would be as likely as any other. Of all
permutations of the labels, the share that gives the class at least as many of those who show it is then known without
drawing one: the upper tail of the hypergeometric distribution, Fisher's exact test (Fisher 1935), one-sided.

Each image has one vote a class, its near-duplicates included: copies are no evidence. Between classes an image may vote
more than once, once for each of its targets. A class never gets two of these, which makes its count vary less than
under free permutation if they agree: the test then errs on the safe side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from audit.findings.off_object import wilson_interval


def label_permutation(
    shows: NDArray[np.integer], of: NDArray[np.integer], all_shows: NDArray[np.integer], all_of: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Share of label permutations in which at least as many of the class show it; arrays that broadcast.

    Args:
        shows, of: how many of the class show it, and how many there are.
        all_shows, all_of: the same over all classes, this one included.

    Example:
        Two of the class and two others; both of the class show it and neither of the others: one in six permutations.

        >>> round(float(label_permutation(2, 2, 2, 4)), 4)
        0.1667
    """
    return np.asarray(hypergeom.sf(np.asarray(shows) - 1, all_of, all_shows, of), np.float64)


def one_vote(owner: NDArray[np.integer], image: NDArray[np.integer]) -> NDArray[np.int64]:
    """Positions [r] of the first of each image, near-duplicates included, in each class [n]; by class, then image."""
    key = owner.astype(np.int64) * (int(image.max(initial=0)) + 1) + image
    return np.unique(key, return_index=True)[1].astype(np.int64)


def difference_interval(
    shows: NDArray[np.integer], of: NDArray[np.integer], other_shows: NDArray[np.integer], other_of: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % interval of a share less another, of different images (Newcombe 1998, method 10: from Wilson's intervals).

    A bootstrap would have no width where all or none show it, as with few images is common.
    """
    share, other = shows / of, other_shows / other_of
    low, high = wilson_interval(shows, of)
    other_low, other_high = wilson_interval(other_shows, other_of)
    below = np.hypot(share - low, other_high - other)
    above = np.hypot(high - share, other - other_low)
    return share - other - below, share - other + above
