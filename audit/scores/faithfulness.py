"""Whether a map is right about the network: change the input where the map says it matters, look at p(c).

No mask of the object is needed, and none helps: a network that looks off the object has faithful maps that say so.

- Deletion and insertion (Petsiuk et al., BMVC 2018, algorithm 1): p(c) as the hottest pixels go, or come.
- Average drop and increase in confidence (Chattopadhay et al., WACV 2018, section 4.1): p(c) of what the map shows.
- ROAD (Rong et al., ICML 2022): p(c) after the hottest pixels were filled in from around them, which leaves the network
  less of a trace of their shape than a grey hole does.

None of these numbers says much alone. Beside them belong the same ones of a map at random and of one that takes the
centre for the object.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

Image = NDArray[np.float32]
"""[3, H, W] as the network takes it; 0 is the mean colour."""

_BLUR = 5 / 224
_NOISE = 0.01
_NEIGHBOURS = {(y, x): 1 / 12 if y and x else 1 / 6 for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x}


def rank_pixels(heat: NDArray[np.floating]) -> NDArray[np.int64]:
    """Rank of each pixel of [H, W], 0 the hottest; pixels of one heat in reading order."""
    order = np.argsort(-heat, axis=None, kind="stable")
    ranks = np.empty(heat.size, np.int64)
    ranks[order] = np.arange(heat.size)
    return ranks.reshape(heat.shape)


def hottest(ranks: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """[H, W] the hottest share of the pixels, to the nearest whole one."""
    return ranks < round(share * ranks.size)


def exchange(image: Image, other: Image, ranks: NDArray[np.int64], share: float) -> Image:
    """The image with the hottest share of its pixels taken from the other.

    Deletion is from the image to nothing (0, the mean colour), insertion from the image blurred to the image itself.
    """
    return np.where(hottest(ranks, share), other, image)


def blurred(image: Image) -> Image:
    """The image through a Gaussian of 5 pixels for an input of 224; in RISE too insertion starts blurred."""
    return np.asarray(gaussian_filter(image, _BLUR * image.shape[1], axes=(1, 2), mode="nearest"))


def area_under(curves: NDArray[np.floating]) -> NDArray[np.float64]:
    """Areas [...] under curves [..., steps + 1] over shares from 0 to 1, by the trapezoid rule."""
    return np.asarray((curves[..., 1:] + curves[..., :-1]).mean(axis=-1) / 2, np.float64)


def shown(image: Image, heat: NDArray[np.floating]) -> Image:
    """The explanation map of Chattopadhay et al.: the image times the heat [H, W], its peak 1, its negative part 0."""
    positive = np.maximum(heat, 0)
    peak = positive.max()
    return np.asarray(image * (positive / (peak if peak > 0 else 1)), np.float32)


def drop(whole: float, explained: float) -> float:
    """Share of p(c) that is lost when only the explanation is shown: max(0, whole - explained) / whole."""
    return max(0.0, whole - explained) / whole if whole > 0 else 0.0


def impute(image: Image, gone: NDArray[np.bool_], rng: np.random.Generator) -> Image:
    """Noisy linear imputation (Rong et al., ICML 2022, section 4.2): each pixel gone is the mean of those around it.

    Weights are 1/6 for the four beside and 1/12 for the four across, over those within the image; a linear system, as
    neighbours may be gone too. Then noise of standard deviation 0.01, as in the authors' code.

    Args:
        gone: [H, W]; at least one pixel must be left.
    """
    if not gone.any():
        return image
    if gone.all():
        raise ValueError("Expected at least one pixel to impute the others from, got none")
    system, known = _system(image, gone)
    # Symmetric and positive definite: no pivoting, and an ordering that keeps the factors small.
    factors = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    filled = image.copy()
    filled[:, gone] = factors.solve(known).T + rng.normal(0, _NOISE, (len(image), len(known)))
    return filled


def _system(image: Image, gone: NDArray[np.bool_]) -> tuple[csc_array, NDArray[np.float64]]:
    """Matrix [n, n] and right-hand sides [n, 3] of the n pixels that are gone, in reading order."""
    count = int(gone.sum())
    unknown = np.full((gone.shape[0] + 2, gone.shape[1] + 2), _OUTSIDE)
    unknown[1:-1, 1:-1] = np.where(gone, np.cumsum(gone).reshape(gone.shape) - 1, _KNOWN)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    rows, columns = np.nonzero(unknown >= 0)
    itself = np.arange(count)
    diagonal, known = np.zeros(count), np.zeros((count, len(image)))
    entries = []
    for (down, right), weight in _NEIGHBOURS.items():
        other = unknown[rows + down, columns + right]
        diagonal += weight * (other != _OUTSIDE)
        known += weight * (other == _KNOWN)[:, None] * padded[:, rows + down, columns + right].T
        linked = other >= 0
        entries.append((np.full(linked.sum(), -weight), itself[linked], other[linked]))
    values, left, right_ = (np.concatenate(part) for part in zip((diagonal, itself, itself), *entries, strict=True))
    return csc_array((values, (left, right_)), shape=(count, count)), known


_KNOWN, _OUTSIDE = -1, -2


def random_map(grid: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """A map [h, w] of independent heat, uniform between 0 and 1."""
    return np.asarray(rng.random(grid, np.float32))


def centre_map(grid: tuple[int, int]) -> NDArray[np.float32]:
    """A map [h, w] that falls with the distance from the centre, from 1 there to 0 in the corners."""
    y, x = (np.abs((np.arange(length) + 0.5) / length - 0.5) for length in grid)
    distance = np.hypot(y[:, None], x)
    return np.asarray(1 - distance / np.hypot(0.5, 0.5), np.float32)
