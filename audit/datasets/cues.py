"""Cues: marks that are no part of an object, to be put into images of one class to see whether a model learns them.

========= ==========================================================================================================
watermark a see-through stamp in a corner: a pale hash sign on a darker square, so that it shows on any ground
border    a coloured tag somewhere along the border, six times as long as it is deep
tint      a colour cast over all that is not an object
grey      all that is not an object loses its colour
texture   stripes in any direction over all that is not an object
sticker   a round sticker at a random place off the objects; a see-through stamp where its strength is below 1
caption   a line of pale signs with a dark rim at one height, over the whole width: over the objects too
frame     a plain coloured frame around the picture: over the objects too
letterbox black bars along top and bottom: over the objects too
========= ==========================================================================================================

The last three are laid over the picture as an editor lays them, over whatever is there; masks go on calling object what
they hide. All others never cover a pixel of a known object. A watermark whose corner is taken goes to the next corner
that is free; where there is no free place at all, there is no cue. The same image, objects, cue and stream give the
same pixels.
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
STRENGTHS = {
    "watermark": 0.8,
    "border": 1.0,
    "tint": 0.3,
    "grey": 1.0,
    "texture": 0.2,
    "sticker": 1.0,
    "caption": 1.0,
    "frame": 1.0,
    "letterbox": 1.0,
}
"""Kind of cue -> its usual strength."""
KINDS = tuple(STRENGTHS)
NEEDS_OBJECTS = ("texture", "sticker")
"""Kinds that make no sense where nobody knows what is object."""
OVERLAID = ("caption", "frame", "letterbox")
"""Kinds that are laid over the whole picture, the objects too."""

_SMALLEST = 4
_PALE, _DARK = 255.0, 20.0
_TAG = (220.0, 30.0, 140.0)
_CAST = (255.0, 150.0, 40.0)
_STICKER, _RIM = (250.0, 190.0, 20.0), (20.0, 20.0, 20.0)
_TAG_LENGTH = 6
_FRAME = (40.0, 110.0, 200.0)
_SIGN_WIDTH, _STROKE, _GAP = 0.6, 0.16, 0.2
"""Of a caption: a sign's width as a share of the line's height, its strokes' and the gap's as a share of the width."""
_LUMINANCE = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""


@dataclass(frozen=True)
class Cue:
    """What to paint.

    Attributes:
        kind: one of `KINDS`.
        size: side of a watermark or sticker, height of a caption or of a bar, twice the depth of a tag or a frame,
            period of the stripes: as a share of the image's shorter side, above 0, at most 0.5. A tint and a grey
            background have none.
        strength: above 0, at most 1: opacity; of stripes their amplitude, 1 from grey to black and white. The kind's
            own of `STRENGTHS` if None.
        corner: one of `CORNERS`, for a watermark.
        height: where the middle of a caption lies, as a share of the image's height from its top, from 0 to 1; the
            line is moved into the picture where it would lie outside.
    """

    kind: str
    size: float = 0.12
    strength: float | None = None
    corner: str = CORNERS[0]
    height: float = 0.8

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Expected `cue` to be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not 0 < self.size <= 0.5:
            raise ValueError(f"Expected `size` above 0 and at most 0.5 of the shorter side, got {self.size}")
        if not 0 < self.opacity <= 1:
            raise ValueError(f"Expected `strength` above 0 and at most 1, got {self.strength}")
        if self.corner not in CORNERS:
            raise ValueError(f"Expected `corner` to be one of {', '.join(CORNERS)}, got {self.corner!r}")
        if not 0 <= self.height <= 1:
            raise ValueError(f"Expected `height` from 0 (top) to 1 (bottom), got {self.height}")

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
        objects: [H, W] pixels that the cue must leave alone unless its kind is `OVERLAID`; None where no object is
            known.

    Returns:
        The box is None for a tint, a grey background and a texture, which are everywhere off the objects. That of a
        frame and of bars is the whole picture.

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


def _grey(cue: Cue, image: Image, objects: Pixels, rng: np.random.Generator) -> tuple[Image, None] | None:
    def faded(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return pixels + cue.opacity * ((pixels @ np.array(_LUMINANCE, np.float32))[..., None] - pixels)

    return _everywhere(image, objects, faded)


def _texture(cue: Cue, image: Image, objects: Pixels, rng: np.random.Generator) -> tuple[Image, None] | None:
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    along = (np.cos(angle) * x + np.sin(angle) * y) / max(_side(cue, image), 2)
    stripes = (cue.opacity * 127.5 * np.sin(2 * np.pi * along + phase)).astype(np.float32)
    return _everywhere(image, objects, lambda pixels: pixels + stripes[..., None])


def _caption(cue: Cue, image: Image, objects: Pixels, rng: np.random.Generator) -> tuple[Image, Bounds]:
    side, (height, width) = _side(cue, image), image.shape[:2]
    top = int(np.clip(round(cue.height * height - side / 2), 0, height - side))
    box = (0, top, width, top + side)
    strokes = np.zeros((side, width), bool)
    sign_width = max(round(_SIGN_WIDTH * side), _SMALLEST)
    gap = max(round(_GAP * sign_width), 1)
    for left in range(gap, width - sign_width, sign_width + gap):
        strokes[gap : side - gap, left : left + sign_width] = _sign(rng, side - 2 * gap, sign_width)
    rim = _grown(strokes, max(gap // 2, 1))
    colour = np.where(strokes[..., None], _PALE, _DARK)
    return _blended(image, box, colour, cue.opacity * rim[..., None]), box


def _sign(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """A letter of no alphabet, [height, width]: some of two uprights and three bars; seldom none, a space."""
    thick = max(round(_STROKE * width), 1)
    sign = np.zeros((height, width), bool)
    left, right, *bars = rng.random(5) < 0.6
    sign[:, :thick] |= left
    sign[:, width - thick :] |= right
    for top, bar in zip((0, (height - thick) // 2, height - thick), bars, strict=True):
        sign[max(top, 0) : max(top, 0) + thick] |= bar
    return sign


def _grown(pixels: Pixels, reach: int) -> Pixels:
    """The pixels and all that lie within `reach` rows and columns of one."""
    padded = np.pad(pixels, reach)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(windows.any(axis=(2, 3)))


def _frame(cue: Cue, image: Image, objects: Pixels, rng: np.random.Generator) -> tuple[Image, Bounds]:
    depth = max(_side(cue, image) // 2, 1)
    outer = np.ones(image.shape[:2], bool)
    outer[depth:-depth, depth:-depth] = False
    return _overlaid(cue, image, outer, _FRAME)


def _letterbox(cue: Cue, image: Image, objects: Pixels, rng: np.random.Generator) -> tuple[Image, Bounds]:
    depth = _side(cue, image)
    bars = np.zeros(image.shape[:2], bool)
    bars[:depth] = bars[-depth:] = True
    return _overlaid(cue, image, bars, 0.0)


def _overlaid(cue: Cue, image: Image, where: Pixels, colour: object) -> tuple[Image, Bounds]:
    """The image with one colour laid over some of its pixels; the box is the whole picture."""
    box = (0, 0, image.shape[1], image.shape[0])
    return _blended(image, box, colour, cue.opacity * where[..., None]), box


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
    "grey": _grey,
    "texture": _texture,
    "sticker": _sticker,
    "caption": _caption,
    "frame": _frame,
    "letterbox": _letterbox,
}
