"""Units: what counts as one witness. Targets of one unit have one vote a class, and are drawn together in intervals.

A unit is an image with its near-copies, unless an attribute of the manifest is named: a patient, camera, video, burst.
Then all images with one value are a unit. Copies in two units stay apart: frames of two cameras at night may be alike
without the cameras being one. An image without a value is a unit by itself, with its near-copies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.errors import ManifestError
from audit.images import near_copies
from audit.store import Run


def units_of(
    run: Run, sample: NDArray[np.integer], look: NDArray[np.integer], attribute: str | None = None
) -> NDArray[np.int64]:
    """The number of each target's unit [n], from 0 without gaps.

    Args:
        sample: [n] of the targets; rows of the manifest.
        look: [n] difference hashes of their images.
        attribute: of the manifest, whose values are the units; None for images.

    Raises:
        ManifestError: the manifest has no such attribute.
    """
    unit = np.full(len(sample), -1) if attribute is None else _values(run, sample, attribute)
    alone = unit < 0
    unit[alone] = unit.max(initial=-1) + 1 + near_copies(look[alone])
    return pd.factorize(unit)[0].astype(np.int64)


def check_unit(attribute: str | None, attributes: Sequence[str]) -> None:
    """Refuse an attribute that the manifest does not have.

    Raises:
        ManifestError: so it is.
    """
    if attribute is not None and attribute not in attributes:
        there = f"has {', '.join(attributes)}" if attributes else "has none"
        raise ManifestError(f"Expected as unit an attribute of the manifest, which {there}; got {attribute!r}")


def _values(run: Run, sample: NDArray[np.integer], attribute: str) -> NDArray[np.int64]:
    """A number for each value of the attribute [n], -1 for none."""
    first, stop = (int(sample.min()), int(sample.max()) + 1) if len(sample) else (0, 0)
    check_unit(attribute, run.manifest_file.attributes)
    table = run.manifest_file.rows(first, stop, [attribute])
    return np.asarray(pd.factorize(table[attribute].to_pandas())[0][sample - first], np.int64)
