"""Does a class show something more often than the other classes? Label permutation in closed form.

Were class labels independent of what the maps show, every way to hand them out would be as likely as any other. Of all
permutations of the labels, the share that gives the class at least as many of those who show it is then known without
drawing one: the upper tail of the hypergeometric distribution, Fisher's exact test (Fisher 1935), one-sided.

Between classes an image may vote more than once, once for each of its targets. A class never gets two of these, which
makes its count vary less than under free permutation if they agree: the test then errs on the safe side.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray


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
    return np.asarray(scipy.stats.hypergeom.sf(np.asarray(shows) - 1, all_of, all_shows, of), np.float64)
