"""Cues: marks that are no part of an object, to be put into images of one class to see whether a model learns them.

========= ==========================================================================================================
watermark a see-through stamp in a corner: a pale hash sign on a darker square, so that it shows on any ground
border    a coloured tag somewhere along the border, six times as long as it is deep
tint      a colour cast over all that is not an object
texture   stripes in any direction over all that is not an object
sticker   an opaque round sticker at a random place off the objects
========= ==========================================================================================================

No cue ever covers a pixel of a known object. A watermark whose corner is taken goes to the next corner that is free;
where there is no free place at all, there is no cue. The same image, objects, cue and stream give the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Pixels = NDArray[np.bool_]
Bounds = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, x1 and y1 exclusive."""

CORNERS = ("bottom-right", "bottom-left", "top-right", "top-left")
"""In the order in which they are tried after the one that was asked for."""
STRENGTHS = {"watermark": 0.8, "border": 1.0, "tint": 0.3, "texture": 0.2, "sticker": 1.0}
"""Kind of cue -> its usual strength."""
KINDS = tuple(STRENGTHS)
NEEDS_OBJECTS = ("texture", "sticker")
"""Kinds that make no sense where nobody knows what is object."""

_SMALLEST = 4
_PALE, _DARK = 255.0, 20.0
_TAG = (220.0, 30.0, 140.0)
_CAST = (255.0, 150.0, 40.0)
_STICKER, _RIM = (250.0, 190.0, 20.0), (20.0, 20.0, 20.0)
_TAG_LENGTH = 6


@dataclass(frozen=True)
class Cue:
    """What to paint.

    Attributes:
        kind: one of `KINDS`.
        size: side of a watermark or sticker, twice the depth of a tag, period of the stripes: as a share of the
            image's shorter side, above 0, at most 0.5. A tint has none.
        strength: above 0, at most 1: opacity; of stripes their amplitude, 1 from grey to black and white. The kind's
            own of `STRENGTHS` if None.
        corner: one of `CORNERS`, for a watermark.
    """

    kind: str
    size: float = 0.12
    strength: float | None = None
    corner: str = CORNERS[0]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Expected `cue` to be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not 0 < self.size <= 0.5:
            raise ValueError(f"Expected `size` above 0 and at most 0.5 of the shorter side, got {self.size}")
        if not 0 < self.opacity <= 1:
            raise ValueError(f"Expected `strength` above 0 and at most 1, got {self.strength}")
        if self.corner not in CORNERS:
            raise ValueError(f"Expected `corner` to be one of {', '.join(CORNERS)}, got {self.corner!r}")

    @property
    def opacity(self) -> float:
        """The strength, or the kind's own."""
        return STRENGTHS[self.kind] if self.strength is None else self.strength


def paint_cue(
    cue: Cue, image: Image, objects: Pixels | None, rng: np.random.Generator
) -> tuple[Image, Bounds | None] | None:
    """A copy of the image with the cue in it, and the box that the cue may change; None where there is no free place.

    Args:
        image: uint8 [H, W, 3], upright.
        objects: [H, W] pixels that the cue must leave alone; None where no object is known.

    Returns:
        The box is None for a tint and a texture, which are everywhere off the objects.

    Raises:
        ValueError: objects of another size than the image, or none for a kind that needs them.
    """
    if objects is None and cue.kind in NEEDS_OBJECTS:
        raise ValueError(f"Expected `objects` for the cue {cue.kind}, got None")
    objects = np.zeros(image.shape[:2], bool) if objects is None else objects
    if objects.shape != image.shape[:2]:
        raise ValueError(f"Expected `objects` of shape {list(image.shape[:2])}, got {list(objects.shape)}")
    return _PAINTERS[cue.kind](cue, image, objects, rng)


def _watermark(cue: Cue, image: Image, objects: Pixels, rng: np.random.Generator) -> tuple[Image, Bounds] | None:
    side = _side(cue, image)
    box = _free_corner(cue.corner, objects, side, rng.integers(0, side // 4, 2, endpoint=True))
    if box is None:
        return None
    away = abs((np.arange(side) + 0.5) / side - 0.5)
    stroke = (away > 0.15) & (away < 0.33)
    sign = (stroke[:, None] | stroke)[..., None]
    opacity = cue.opacity * np.where(sign, 1, 0.5)
    return _blended(image, box, np.where(sign, _PALE, _DARK), opacity), box


def _free_corner(first: str, objects: Pixels, side: int, margins: NDArray[np.integer]) -> Bounds | None:
    """The box of a stamp near the corner, or near the next corner without an object."""
    height, width = objects.shape
    down, across = (int(margin) for margin in margins)
    for corner in (first, *(other for other in CORNERS if other != first)):
        y = down if corner.startswith("top") else height - side - down
        x = across if corner.endswith("left") else width - side - across
        if not objects[y : y + side, x : x + side].any():
            return x, y, x + side, y + side
    return None


def _border(cue: Cue, image: Image, objects: Pixels, rng: np.random.Generator) -> tuple[Image, Bounds] | None:
    depth = max(_side(cue, image) // 2, 1)
    length = min(_TAG_LENGTH * depth, *objects.shape)
    for edge in rng.permutation(4):
        # A column is at the left or right what a row is at the top or bottom.
        along = objects if edge < 2 else objects.T
        start = 0 if edge % 2 else len(along) - depth
        free = _free_runs(along[start : start + depth].any(axis=0), length)
        if len(free):
            place = int(rng.choice(free))
            low, high = (place, start), (place + length, start + depth)
            box = (*low, *high) if edge < 2 else (*low[::-1], *high[::-1])
            return _blended(image, box, _TAG, cue.opacity), box
    return None


def _free_runs(taken: Any, length: int) -> NDArray[np.intp]:
    """Where `length` places in a row that are not taken, bool [n], begin."""
    taken = np.concatenate([[0], np.cumsum(taken)])
    return np.flatnonzero(taken[length:] == taken[:-length])


def _sticker(cue: Cue, image: Image, objects: Pixels, rng: np.random.Generator) -> tuple[Image, Bounds] | None:
    side = _side(cue, image)
    free = _free_squares(objects, side)
    places = np.flatnonzero(free)
    if not len(places):
        return None
    y, x = (int(index) for index in np.unravel_index(rng.choice(places), free.shape))
    box = (x, y, x + side, y + side)
    axis = (np.arange(side) + 0.5) / side * 2 - 1
    radius = np.hypot(axis[:, None], axis)[..., None]
    return _blended(image, box, np.where(radius < 0.75, _STICKER, _RIM), cue.opacity * (radius <= 1)), box


def _free_squares(objects: Pixels, side: int) -> Pixels:
    """[H - side + 1, W - side + 1] whether the square that begins at a pixel holds no object, from running sums."""
    sums = np.zeros((objects.shape[0] + 1, objects.shape[1] + 1), np.int32)
    np.cumsum(np.cumsum(objects, axis=0, dtype=np.int32), axis=1, out=sums[1:, 1:])
    held = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return np.asarray(held == 0)


def _tint(cue: Cue, image: Image, objects: Pixels, rng: np.random.Generator) -> tuple[Image, None] | None:
    return _everywhere(image, objects, lambda pixels: pixels + cue.opacity * (np.array(_CAST, np.float32) - pixels))


def _texture(cue: Cue, image: Image, objects: Pixels, rng: np.random.Generator) -> tuple[Image, None] | None:
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    along = (np.cos(angle) * x + np.sin(angle) * y) / max(_side(cue, image), 2)
    stripes = (cue.opacity * 127.5 * np.sin(2 * np.pi * along + phase)).astype(np.float32)
    return _everywhere(image, objects, lambda pixels: pixels + stripes[..., None])


def _everywhere(
    image: Image, objects: Pixels, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> tuple[Image, None] | None:
    """The image changed wherever there is no object."""
    if objects.all():
        return None
    return np.where(objects[..., None], image, _rounded(change(image.astype(np.float32)))), None


def _side(cue: Cue, image: Image) -> int:
    short = min(image.shape[:2])
    return int(min(max(round(cue.size * short), _SMALLEST), short))


def _blended(image: Image, box: Bounds, colour: object, opacity: object) -> Image:
    """A copy of the image whose pixels in the box are on their way to a colour, as far as the opacity says."""
    x0, y0, x1, y1 = box
    under = image[y0:y1, x0:x1].astype(np.float64)
    marked = image.copy()
    marked[y0:y1, x0:x1] = _rounded(under + np.asarray(opacity) * (np.asarray(colour) - under))
    return marked


def _rounded(values: NDArray[np.floating]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


_Painter = Callable[[Cue, Image, Pixels, np.random.Generator], tuple[Image, Bounds | None] | None]
_PAINTERS: dict[str, _Painter] = {
    "watermark": _watermark,
    "border": _border,
    "tint": _tint,
    "texture": _texture,
    "sticker": _sticker,
}
