"""Points in two dimensions in the browser, of which a line that is drawn around them chooses some."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboards.components import component

MOST_COLOURS = 255
_scatter = component(__file__)


@dataclass(frozen=True)
class Colouring:
    """What colours mean.

    Attributes:
        codes: [n] which of the names each point has.
        names, colours: by code; at most `MOST_COLOURS`.
    """

    codes: NDArray[np.integer]
    names: Sequence[str]
    colours: Sequence[str]

    def legend(self) -> list[tuple[str, str, int]]:
        """Names that occur, with their colours and how many points have them."""
        counts = np.bincount(self.codes, minlength=len(self.names)).tolist()
        return [row for row in zip(self.names, self.colours, counts, strict=True) if row[2]]


def show_scatter(
    key: str,
    name: str,
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    kept: NDArray[np.bool_],
    colouring: Colouring,
    alt: str,
) -> list[int]:
    """Draw points [n]; returns the places of those that were just chosen.

    Args:
        name: of what is drawn; zoom and place stay while it does.
        kept: [n] which points may be chosen; the others are faint.
    """
    data: dict[str, Any] = {
        "points": name,
        "name": f"{name} {hash(colouring.codes.tobytes() + kept.tobytes())}",
        "x": _packed(x, "<f4"),
        "y": _packed(y, "<f4"),
        "codes": _packed(colouring.codes, "u1"),
        "kept": _packed(kept, "u1"),
        "colours": list(colouring.colours),
        "legend": colouring.legend(),
        "alt": alt,
    }
    chosen = _scatter(key=key, data=data, on_chosen_change=_nothing).get("chosen") or ()
    return [int(place) for place in chosen if 0 <= int(place) < len(x)]


def _packed(values: NDArray[Any], kind: str) -> str:
    return b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()


def _nothing() -> None:
    """What was chosen is handed back by the drawing."""
