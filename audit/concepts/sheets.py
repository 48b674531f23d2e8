"""Sheets of patches: a row a channel or concept, its words at the left, its patches beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from audit.concepts.patches import GROUND, TILE

_INK, _SOFT = (30, 30, 34), (110, 110, 116)
_GAP, _WORDS = 4, 190


@dataclass(frozen=True)
class Strip:
    """A row of a sheet.

    Attributes:
        title: its first line.
        lines: those below.
        tiles: pictures [t, t, 3] of one size.
    """

    title: str
    lines: Sequence[str] = ()
    tiles: Sequence[NDArray[np.uint8]] = field(default_factory=tuple)


def draw_sheet(strips: Sequence[Strip], tile: int = TILE) -> NDArray[np.uint8]:
    """Rows of tiles as one picture [H, W, 3].

    Raises:
        ValueError: there is no row.
    """
    if not strips:
        raise ValueError("Expected at least one row for a sheet, got none")
    columns = max(len(strip.tiles) for strip in strips)
    height, width = len(strips) * (tile + _GAP) + _GAP, _WORDS + columns * (tile + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), (GROUND,) * 3)
    pen = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(15), ImageFont.load_default(12)
    for row, strip in enumerate(strips):
        top = _GAP + row * (tile + _GAP)
        pen.text((10, top + 6), strip.title, _INK, title)
        for place, line in enumerate(strip.lines):
            pen.text((10, top + 30 + 16 * place), line, _SOFT, small)
        for place, pixels in enumerate(strip.tiles):
            sheet.paste(Image.fromarray(pixels), (_WORDS + place * (tile + _GAP), top))
    return np.asarray(sheet)
