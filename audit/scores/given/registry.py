"""What a run's network is asked about a target again by, and the object that the target brings along, if any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from audit.datasets.objects import Objects
from audit.scores.given.detected import detection_of
from audit.scores.given.segmented import regions_of
from audit.store import Run


def objects_of_target(
    run: Run, row: int, slot: int, class_id: int, objects: Objects, size: tuple[int, int]
) -> tuple[Objects, int]:
    """The objects of an image as a target of a run is held against, and the class of the target's own among them.

    Args:
        row: of the sample in the manifest.
        objects: of the image.
        size: its (H, W).
    """
    if (detection := detection_of(run, row, slot)) is not None:
        return detection.among(objects, class_id, size)
    if (regions := regions_of(run, row)) is not None:
        return regions.own([class_id])[0].among(objects, class_id, size)
    return objects, class_id


def given_for(run: Run, row: int, slot: int) -> Sequence[float] | NDArray[np.int32] | str | None:
    """What the run's network is asked about a target again by; None of a classifier's."""
    if (detection := detection_of(run, row, slot)) is not None:
        return detection.candidate
    if (regions := regions_of(run, row)) is not None:
        return regions.labels
    (sample,) = run.manifest(row, row + 1)
    return sample.attributes.get("text") if run.record["config"]["roles"] == ["word"] else None
