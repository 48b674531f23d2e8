"""What `camaudit verify` took away from a target, drawn again without the network.

A run keeps how its images were fitted and normalised, and its maps; so the input and the regions are those of verify,
pixel by pixel. What fills a region is not, in two ways. The noise over it is drawn with other chances (a hundredth of
the input's spread), and verify may have been asked for another fill. And the backgrounds of other images are not
gathered again: in their place stands grain in the colour of the image's own background, which verify tries as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.datasets import Sample, Unreadable, decode_sample, read_objects
from audit.datasets.reach import BELOW_ROOT, Reach
from audit.errors import ImageError, RunError
from audit.images import Fit
from audit.interventions.removals import Region, heat_at_input, hot_region, kept_region, on_plain, without
from audit.scores.faithfulness import Image
from audit.scores.given.registry import objects_of_target
from audit.store import Run

Pixels = NDArray[np.uint8]
"""[S, S, 3] as the network sees them."""


@dataclass(frozen=True)
class Redrawn:
    """A target's image at the network's input; None where there was nothing to take away.

    Attributes:
        whole: as it is.
        hot: without the hot region off the object.
        object: without the object and its rim.
        background: the object alone, on grain in the mean colour of its background.
    """

    whole: Pixels
    hot: Pixels | None
    object: Pixels | None
    background: Pixels | None


def redraw(run: Run, row: int, slot: int, class_id: int, reach: Reach = BELOW_ROOT) -> Redrawn:
    """Draw a target's removals again.

    Args:
        row: of the sample in the manifest.
        reach: which files may be read.

    Raises:
        ImageError: the image cannot be read, may not be, or is another than the run saw.
        RunError: the run does not say how its images were fitted, or its tables are damaged.
    """
    mean, spread, fit = _preprocessing(run)
    manifest = run.manifest(row, row + 1)
    sample = _within_reach(next(iter(manifest)), reach, manifest.root)
    decoded = decode_sample(row, sample, fit, run.record["config"]["max_pixels"])
    if isinstance(decoded, Unreadable):
        raise ImageError(decoded.reason)
    if decoded.digest != _digest(run, row):
        raise ImageError(f"{sample.image} is not the file that the run saw")
    image = ((decoded.pixels / np.float32(255) - mean) / spread).transpose(2, 0, 1).astype(np.float32)
    heat = heat_at_input(run.maps(row, row + 1)[0, slot].astype(np.float32), fit.size)
    objects = read_objects(sample, manifest.mask_kind, decoded.size, len(run.classes))
    objects, object_id = objects_of_target(run, row, slot, class_id, objects, decoded.size)
    kept = None if objects.mask is None else kept_region(objects.mask, object_id, decoded.view, fit.size)

    def pixels(changed: Image) -> Pixels:
        shown = changed.transpose(1, 2, 0) * spread + mean
        return np.asarray(np.rint(np.clip(shown, 0, 1) * 255), np.uint8)

    return Redrawn(decoded.pixels, *(None if part is None else pixels(part) for part in _removed(image, heat, kept)))


def _removed(image: Image, heat: NDArray[np.floating], kept: Region | None) -> tuple[Image | None, ...]:
    """The image without the hot region, without the object, without the background."""
    rng = np.random.default_rng(0)
    known = kept is not None and not kept.all()
    kept = np.zeros(heat.shape, bool) if kept is None else kept
    hot = hot_region(heat, kept)
    regions = (region if region.any() and not region.all() else None for region in (hot, kept))
    filled = [None if region is None else without(image, region, "inpaint", image, rng) for region in regions]
    return (*filled, on_plain(image, kept, rng) if known else None)


def _preprocessing(run: Run) -> tuple[NDArray[np.float32], NDArray[np.float32], Fit]:
    """Mean and spread [3] of the channels, and the fit."""
    try:
        told = run.record["model"]
        mean, spread = (np.array(told[name], np.float32) for name in ("mean", "std"))
        return mean, spread, Fit(**told["fit"])
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{run.path} does not say how its images were fitted, so none is drawn again") from None


def _within_reach(sample: Sample, reach: Reach, root: str) -> Sample:
    mask = None if sample.mask is None else reach.locate(sample.mask, root)
    return replace(sample, image=reach.locate(sample.image, root), mask=mask)


def _digest(run: Run, row: int) -> str | None:
    shard = run.shards[row // run.record["shard_size"]]
    samples = run.read("samples", shard, ["sample", "digest"])
    digest: str | None = samples.filter(pc.field("sample") == row)["digest"][0].as_py()
    return digest
