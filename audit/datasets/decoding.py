"""From a sample to the pixels that a network takes: read, decoded, upright, fitted; or why that cannot be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.datasets.manifest import Sample
from audit.errors import ImageError, TransientError
from audit.images import MAX_PIXELS, View, decode_image, difference_hash, read_bytes
from audit.images.reading import plain_jpeg, upright


@dataclass(frozen=True)
class Readable:
    """A sample as the network will see it.

    Attributes:
        row: its row in the manifest.
        pixels: uint8 [S, S, 3] fitted image.
        size: (height, width) of the upright image in pixels.
        view: what the network sees of the upright image.
        digest: of the file's bytes: first 16 hex digits of BLAKE2b.
        look: difference hash of the fitted image.
    """

    row: int
    sample: Sample
    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    view: View
    digest: str
    look: int


@dataclass(frozen=True)
class Unreadable:
    """A sample whose image the network cannot see.

    Attributes:
        row: its row in the manifest.
        reason: why, in one line.
        transient: whether it may be read later.
    """

    row: int
    sample: Sample
    reason: str
    transient: bool = False


Fitting = Callable[[NDArray[np.uint8]], tuple[NDArray[np.uint8], View]]
"""From an upright image to the network's pixels, and the view of it that these are."""


Jpegs = Callable[[Sequence[bytes]], Sequence[NDArray[np.uint8] | None]]
"""From whole JPEGs of three colours to their images [H, W, 3] as stored; None of those that it refuses."""


def decode_sample(row: int, sample: Sample, fit: Fitting, max_pixels: int = MAX_PIXELS) -> Readable | Unreadable:
    """Read, decode and fit one image; what goes wrong with it becomes its reason.

    Args:
        row: of the sample in the manifest.
        max_pixels: size limit of the image.
    """
    data = _read(row, sample)
    return data if isinstance(data, Unreadable) else _decoded(row, sample, data, fit, max_pixels)


def decode_samples(
    items: Sequence[tuple[int, Sample]], fit: Fitting, jpegs: Jpegs, max_pixels: int = MAX_PIXELS
) -> list[Readable | Unreadable]:
    """The same of several rows and samples, what are plain JPEGs decoded together by `jpegs`, all others as ever."""
    read = [_read(row, sample) for row, sample in items]
    turns = {
        place: turn
        for place, data in enumerate(read)
        if isinstance(data, bytes) and (turn := plain_jpeg(data, max_pixels)) is not None
    }
    images = jpegs([data for place, data in enumerate(read) if place in turns and isinstance(data, bytes)])
    stored = dict(zip(turns, images, strict=True))
    found: list[Readable | Unreadable] = []
    for place, ((row, sample), data) in enumerate(zip(items, read, strict=True)):
        if isinstance(data, Unreadable):
            found.append(data)
        elif (image := stored.get(place)) is None:
            found.append(_decoded(row, sample, data, fit, max_pixels))
        else:
            found.append(_fitted(row, sample, data, upright(image, turns[place]), fit))
    return found


def _read(row: int, sample: Sample) -> bytes | Unreadable:
    try:
        return read_bytes(sample.image)
    except TransientError as error:
        return Unreadable(row, sample, str(error), transient=True)
    except ImageError as error:
        return Unreadable(row, sample, str(error))


def _decoded(row: int, sample: Sample, data: bytes, fit: Fitting, max_pixels: int) -> Readable | Unreadable:
    try:
        image = decode_image(data, sample.image, max_pixels)
    except ImageError as error:
        return Unreadable(row, sample, str(error))
    return _fitted(row, sample, data, image, fit)


def _fitted(row: int, sample: Sample, data: bytes, image: NDArray[np.uint8], fit: Fitting) -> Readable:
    pixels, view = fit(image)
    height, width, _ = image.shape
    digest = hashlib.blake2b(data, digest_size=8).hexdigest()
    return Readable(row, sample, pixels, (height, width), view, digest, difference_hash(pixels))
