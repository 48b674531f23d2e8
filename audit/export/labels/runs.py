"""Masks as run lengths: COCO's, through pycocotools, and Label Studio's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pycocotools.mask
from numpy.typing import NDArray

_SIZES = (3, 4, 8, 16)
"""Bits that the length of a run is written in, the smallest that hold it."""
_LONGEST = 1 << _SIZES[-1]
_VALUE_BITS = 8
_CHANNELS = 4


def coco_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask [H, W] as COCO's compressed run lengths, `counts` as text."""
    encoded = pycocotools.mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode()}


def brush_rle(mask: NDArray[np.bool_]) -> list[int]:
    """A mask [H, W] as bytes of Label Studio's brush: runs of an RGBA image, 255 on the mask, row by row.

    Bits, highest first: 32 of the number of values; 5 of the bits a value, less one; 4 x 4 of `_SIZES`, each less one;
    then, a run: 1; 2 of the place in `_SIZES`; its length less one in so many bits; the value.
    """
    flat = mask.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    lengths = np.diff(starts, append=flat.size) * _CHANNELS
    values = np.where(flat[starts], 255, 0)
    pieces = -(-lengths // _LONGEST)
    values, last = np.repeat(values, pieces), np.cumsum(pieces) - 1
    runs = np.full(len(values), _LONGEST)
    runs[last] = lengths - (pieces - 1) * _LONGEST
    head = [(flat.size * _CHANNELS, 32), (_VALUE_BITS - 1, 5), *((size - 1, 4) for size in _SIZES)]
    bits = np.concatenate([*(_bits(np.array([value]), width)[0] for value, width in head), _run_bits(runs, values)])
    return np.packbits(bits).tolist()


def _run_bits(runs: NDArray[np.integer], values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """The bits of all runs behind one another."""
    place = np.searchsorted([1 << size for size in _SIZES], runs)
    lengths = _bits(runs - 1, _SIZES[-1])
    used = np.arange(_SIZES[-1]) >= _SIZES[-1] - np.array(_SIZES)[place][:, None]
    whole = np.ones((len(runs), 1), np.uint8)
    bits = np.hstack([whole, _bits(place, 2), lengths, _bits(values, _VALUE_BITS)])
    kept = np.hstack([np.ones((len(runs), 3), bool), used, np.ones((len(runs), _VALUE_BITS), bool)])
    chosen: NDArray[np.uint8] = bits[kept]
    return chosen


def _bits(numbers: NDArray[np.integer], width: int) -> NDArray[np.uint8]:
    """[n, width], highest first."""
    return (numbers[:, None] >> np.arange(width - 1, -1, -1) & 1).astype(np.uint8)
