"""Is what a map shows the cause? Take a part of the input away and look at p(c).

A map that lies off the object is an accusation. For a flagged target, and for a control that looks like it but is not
flagged, these are taken away at the network's input:

- `hot`: where the heat off the object is at least half of its highest there;
- `random`: as large a region of the same shape elsewhere off the object;
- `object`: the object with its rim;
- `focus`: the hottest region wherever it lies, where that takes some of the object. A mark that lies across the object
  survives any other background, but not this;
- `beside`: as much of the object, by a region of the same shape, in another place;
- `patterns`: all but the object, in exchange for grain, and for the backgrounds of other images. A cue that lies
  everywhere, as a texture does, survives the loss of any one spot, but not this. Its mean colour stays: on another one
  the object itself looks different;
- `colours`: that mean colour alone, in exchange for that of other images. So a tint is seen.

After the background swaps of Xiao et al. (Noise or Signal, ICLR 2021), there between the images of ImageNet-9.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

from audit.images import View, upsample
from audit.images.masks import VOID
from audit.interventions.outcomes import Drops
from audit.scores.faithfulness import Image, impute

_Number = TypeVar("_Number", np.bool_, np.int16)

Region = NDArray[np.bool_]
"""[S, S] pixels of the network's input."""

FILLS = ("inpaint", "blur", "mean", "patch")
"""What takes a region's place: its surroundings carried on into it, the image blurred, the mean around it, or the same
pixels of another image."""

SHIFTS = 8
"""Of a background that is laid over itself."""

DRAWS = 2
"""Random regions a target, off the object and on it."""

_HOT = 0.5
_RIM = 2 / 96
_SPREAD = 1 / 10
_GRAIN = 0.3


def object_with_rim(mask: NDArray[np.int16], class_id: int) -> Region:
    """Pixels [H, W] of a class and of the void around it, which belongs to the object as much as to what is beyond."""
    pixels: Region = mask == class_id + 1
    if not pixels.any():
        return pixels
    return np.asarray(binary_dilation(pixels, iterations=-1, mask=pixels | (mask == VOID)))


def at_input(pixels: Region, view: View, size: int) -> Region:
    """Pixels [H, W] of the upright image at the network's input [size, size]: the one under each centre.

    What the view holds beyond the image is False.
    """
    return np.asarray(mask_at_input(pixels, view, size))


def mask_at_input(mask: NDArray[_Number], view: View, size: int) -> NDArray[_Number]:
    """A mask [H, W] of the upright image at the network's input [size, size]: the value under each centre.

    What the view holds beyond the image is 0, background.
    """
    y, inside_y = _under(view.y0, view.y1, size, mask.shape[0])
    x, inside_x = _under(view.x0, view.x1, size, mask.shape[1])
    return np.asarray(mask[np.ix_(y, x)] * (inside_y[:, None] & inside_x), mask.dtype)


def _under(low: float, high: float, size: int, length: int) -> tuple[NDArray[np.intp], Region]:
    place = np.floor(low + (np.arange(size) + 0.5) * (high - low) / size).astype(np.intp)
    return place.clip(0, length - 1), (place >= 0) & (place < length)


def widened(region: Region) -> Region:
    """The region and what is within 2 pixels of it, for an input of 96."""
    steps = max(round(_RIM * len(region)), 1)
    return np.asarray(binary_dilation(region, iterations=steps)) if region.any() else region


def kept_region(mask: NDArray[np.int16], class_id: int, view: View, size: int) -> Region | None:
    """A class's object in a mask [H, W], with its rim, at the network's input; None where it is not seen."""
    region = at_input(object_with_rim(mask, class_id), view, size)
    return widened(region) if region.any() else None


def heat_at_input(stored: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """A stored map [h, w] as heat [size, size] at the network's input: what speaks against the class is none."""
    return np.asarray(upsample(np.maximum(stored, 0), View(0, 0, size, size), size, size), np.float32)


def hot_region(heat: NDArray[np.floating], kept: Region) -> Region:
    """Where the heat [S, S] off what is kept is at least half of its highest there; nowhere if there is none."""
    off = np.where(kept, -np.inf, heat)
    peak = off.max()
    return np.asarray((off >= _HOT * peak) & (peak > 0))


def focus_region(heat: NDArray[np.floating], kept: Region) -> Region:
    """Where the heat [S, S] is at least half of its highest anywhere; nowhere if none of that lies on what is kept."""
    hottest = hot_region(heat, np.zeros_like(kept))
    return hottest if (hottest & kept).any() else np.zeros_like(kept)


def elsewhere(region: Region, kept: Region, rng: np.random.Generator) -> Region:
    """As many pixels off what is kept, in the region's shape at a random place.

    The region is rolled, torus-wise, to one of the shifts that touch least of what is kept and of the region itself.
    What still lies on kept pixels is taken from the nearest others instead, so the area stays.
    """
    touched = _overlaps(region, kept) * region.size + _overlaps(region, region)
    shifts = np.argwhere(touched <= max(touched.min(), _overlap_allowed(region)))
    down, right = shifts[rng.integers(len(shifts))]
    rolled = np.roll(region, (down, right), (0, 1))
    distance = np.where(kept, np.inf, distance_transform_edt(~rolled))
    chosen = np.zeros(region.size, bool)
    chosen[np.argsort(distance, axis=None, kind="stable")[: region.sum()]] = True
    return chosen.reshape(region.shape)


def beside(region: Region, kept: Region, rng: np.random.Generator) -> list[Region]:
    """The region rolled to random places where it takes as much of what is kept, within a quarter; empty without any.

    At most a quarter of it may lie where it was.
    """
    taken = (region & kept).sum()
    near = np.abs(_overlaps(region, kept) - taken) <= taken / 4
    shifts = np.argwhere(near & (_overlaps(region, region) <= _overlap_allowed(region)))
    drawn = rng.integers(len(shifts), size=DRAWS) if len(shifts) else ()
    return [np.roll(region, shifts[place], (0, 1)) for place in drawn]


def _overlap_allowed(region: Region) -> float:
    """A quarter of the region may lie where it was: big regions have nowhere else to go."""
    return float(region.sum()) / 4


def _overlaps(region: Region, other: Region) -> NDArray[np.float64]:
    """[S, S] pixels that the region shares with the other at each shift."""
    product = np.conj(fft.rfft2(region.astype(float))) * fft.rfft2(other.astype(float))
    return np.asarray(np.rint(fft.irfft2(product, region.shape)))


def without(image: Image, region: Region, fill: str, other: Image, rng: np.random.Generator) -> Image:
    """The image with a region filled.

    Args:
        fill: one of `FILLS`.
        other: another image of the collection, for `patch`.
    """
    if fill not in FILLS:
        raise ValueError(f"Expected --fill to be one of {', '.join(FILLS)}, got {fill!r}")
    if not region.any():
        return image
    if region.all():
        return other
    if fill == "inpaint":
        return impute(image, region, rng)
    return np.where(region, other if fill == "patch" else _level(image, region, fill), image)


def _level(image: Image, region: Region, fill: str) -> Image:
    """What is left of the image around the region, spread into it: [3, S, S]."""
    if fill == "mean":
        ring = np.asarray(binary_dilation(region, iterations=max(round(len(region) * _SPREAD), 1))) & ~region
        return np.broadcast_to(image[:, ring].mean(axis=1)[:, None, None], image.shape)
    return np.asarray(gaussian_filter(image, _SPREAD * len(region), axes=(1, 2), mode="nearest"), np.float32)


def on_pattern(image: Image, kept: Region, other: Image) -> Image:
    """What is kept of the image [3, S, S] on another, shifted to the mean colour of the image's own background."""
    return np.where(kept, image, other + _colour_between(other, image[:, ~kept]))


def on_plain(image: Image, kept: Region, rng: np.random.Generator) -> Image:
    """What is kept of the image [3, S, S] on grain in the mean colour of its own background: no cue but that colour."""
    colour = image[:, ~kept].mean(axis=1)[:, None, None]
    return np.asarray(np.where(kept, image, colour + rng.normal(0, _GRAIN, image.shape)), np.float32)


def on_scattered(image: Image, kept: Region, rng: np.random.Generator) -> Image:
    """What is kept of the image [3, S, S] on its own background, laid over itself at random places, mirrored or not.

    The mean of `SHIFTS` torus shifts, what is kept filled with the mean colour: marks, frames and things go, the
    colour and some of the grain stay. It takes no other image.
    """
    bare = np.where(kept, image[:, ~kept].mean(axis=1)[:, None, None], image)
    scattered = np.zeros_like(image)
    for shift, turn in zip(rng.integers(len(kept), size=(SHIFTS, 2)), rng.choice([1, -1], (SHIFTS, 2)), strict=True):
        scattered += np.roll(bare[:, :: turn[0], :: turn[1]], shift, (1, 2))
    return np.where(kept, image, scattered / SHIFTS).astype(np.float32)


def in_colour(image: Image, kept: Region, other: Image) -> Image:
    """What is kept of the image [3, S, S] on its own background, shifted to the mean colour of another image."""
    return np.where(kept, image, image + _colour_between(image[:, ~kept], other))


def _colour_between(pixels: Image, others: Image) -> NDArray[np.float32]:
    """Mean colour of the others less that of the pixels, [3, 1, 1]."""
    return np.asarray(others.reshape(3, -1).mean(axis=1) - pixels.reshape(3, -1).mean(axis=1))[:, None, None]


@dataclass(frozen=True)
class Changed:
    """The inputs made of one target's; a list is empty where its thing cannot be taken away."""

    hot: list[Image]
    random: list[Image]
    object: list[Image]
    focus: list[Image]
    beside: list[Image]
    patterns: list[Image]
    colours: list[Image]

    def inputs(self) -> Iterator[Image]:
        """All of them, in the order of the fields."""
        for field in fields(self):
            yield from getattr(self, field.name)

    def drops(self, whole: float, answers: NDArray[np.float64]) -> Drops:
        """From p(c) of the input as it is, and of each of `inputs`."""
        ends = np.cumsum([len(getattr(self, field.name)) for field in fields(self)])
        return Drops(whole, *np.split(whole - answers, ends[:-1]))


def change(
    image: Image,
    heat: NDArray[np.floating],
    kept: Region | None,
    backgrounds: Sequence[Image],
    fill: str,
    rng: np.random.Generator,
) -> Changed:
    """Take away what a map, and a mask, point at.

    Args:
        image: [3, S, S] as the network takes it.
        heat: [S, S].
        kept: the object with its rim; None where it is not known. Then all the image is off it.
        backgrounds: other images, their objects filled.
        fill: one of `FILLS`; `patch` takes the first background, or without any the image itself, half a turn on.
    """
    half = image.shape[1] // 2
    other = backgrounds[0] if len(backgrounds) else np.roll(image, (half, half), (1, 2))
    kept = np.zeros(heat.shape, bool) if kept is None else kept
    known = kept.any() and not kept.all()
    lent = backgrounds if known else ()
    return Changed(
        **{
            name: [without(image, region, fill, other, rng) for region in regions]
            for name, regions in filled_regions(heat, kept, rng).items()
        },
        patterns=[on_plain(image, kept, rng), *(on_pattern(image, kept, one) for one in lent)] if len(lent) else [],
        colours=[in_colour(image, kept, one) for one in lent],
    )


def filled_regions(heat: NDArray[np.floating], kept: Region, rng: np.random.Generator) -> dict[str, list[Region]]:
    """What is filled, by the names of `Changed`: lists of as many regions as there are to be filled."""
    hot, focus = hot_region(heat, kept), focus_region(heat, kept)
    return {
        "hot": [hot] if hot.any() else [],
        "random": [elsewhere(hot, kept, rng) for _ in range(DRAWS)] if hot.any() else [],
        "object": [kept] if kept.any() else [],
        "focus": [focus] if focus.any() else [],
        "beside": beside(focus, kept, rng) if focus.any() else [],
    }
