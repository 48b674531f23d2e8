"""Whose surroundings are taken away within a run wherever the heat lies: what the network gave surest, an image each.

Flagged targets alone would say nothing of a class whose heat is on its object. A detector's map of a coarse layer is
hot on the box where what counts lies all around it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGE = 2048
"""Samples from which a run is large."""
SHARE = 0.1
"""Of the samples of a large run, those that are asked."""
_GOLDEN = (np.sqrt(5) - 1) / 2


def asked_anyway(sample: NDArray[np.integer] | int, samples: int) -> NDArray[np.bool_]:
    """Which samples are asked, all of a run that is not large; spread evenly, by the golden ratio (Weyl).

    >>> asked_anyway(np.arange(3), 3).tolist(), int(asked_anyway(np.arange(100_000), 100_000).sum())
    ([True, True, True], 10000)
    """
    share = SHARE if samples >= LARGE else 1.0
    return np.asarray(np.modf(np.asarray(sample) * _GOLDEN)[0] < share)
