"""A target's image with its map, its pseudo-mask and the object's outline, drawn in the browser."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from audit.drawing.pixels import colour_table
from audit.drawing.targets import Picture, jpeg_bytes
from dashboards.components import component

NOTE = "N: a note, kept with the verdict"
"""Placeholder of the field that the key N leads to."""
_viewer = component(__file__)


def picture_data(picture: Picture) -> dict[str, Any]:
    """What the browser needs to draw a target; `image` is None where nothing can be seen."""
    if picture.image is None:
        return {"image": None}
    return {
        "image": _uri(jpeg_bytes(picture.image), "jpeg"),
        "heat": None if picture.heat is None else _heat(picture),
        "object": None if picture.target is None else _uri(_png(picture.target), "png"),
        "colours": b64encode(colour_table().tobytes()).decode(),
        "scale": picture.scale,
    }


def show_viewer(
    key: str,
    subject: str,
    data: dict[str, Any],
    alt: str,
    threshold: float | None,
    curve: Sequence[float] | None,
    unscored: str,
    boxable: bool,
    on_box: Callable[[], None],
) -> None:
    """Draw it.

    Args:
        key: of the component; its `box` in the session's state is what was drawn: `subject`, and `corners` x0, y0, x1,
            y1 in upright pixels.
        subject: the target.
        data: of `picture_data`.
        alt: what the picture is of.
        threshold: of the run's pseudo-masks; None where none was chosen.
        curve: IoU of the pseudo-mask at each map level; None where it is not known, with the reason in `unscored`.
        boxable: whether the object may be boxed.
    """
    told = {"subject": subject, "alt": alt, "threshold": threshold, "curve": curve, "unscored": unscored}
    told |= {"boxable": boxable, "note": NOTE}
    _viewer(key=key, data=data | told, on_box_change=on_box)


def _heat(picture: Picture) -> dict[str, Any]:
    assert picture.heat is not None
    view = picture.view
    values = b64encode(np.ascontiguousarray(picture.heat, "<f4").tobytes()).decode()
    return {"values": values, "shape": picture.heat.shape, "view": [view.x0, view.y0, view.x1, view.y1]}


def _png(mask: NDArray[np.bool_]) -> bytes:
    data = BytesIO()
    Image.fromarray(mask).save(data, "PNG")
    return data.getvalue()


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode()}"
