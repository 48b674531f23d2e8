"""A target before and after something was taken away from its image: as pictures, with what the answer became."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from audit.drawing.targets import Picture
from audit.errors import AuditError
from audit.findings import Effect
from audit.interventions.quick import without_background
from audit.interventions.redrawn import Redrawn, redraw
from audit.wording import plain
from dashboards.state import Context, Shown, picture_of, shown

Target = Mapping[str, Any]
_WIDTH = 190
_CHANGES = {
    "hot": "the hot region off the object",
    "random": "a region elsewhere",
    "object": "the object",
    "background": "the background",
    "colour": "the background's colour",
}
_DRAWN = ("hot", "object", "background")
_AGAIN = (
    "Drawn again without the network: the same pixels are taken away, filled from around them, as verify does unless "
    "told otherwise. The background is shown as grain; its p comes from several, those of other images among them."
)


class _Panel(NamedTuple):
    """A picture, what it shows, and what was answered."""

    pixels: NDArray[np.uint8]
    shows: str
    answer: str


def show_before_and_after(context: Context, target: Target) -> None:
    """Draw what interventions, and the quick check, made of a target."""
    effect = context.tables.effect(target["sample"], target["slot"])
    panels = [*_verified(context, target, effect), *_quickly_checked(context, target)]
    if panels:
        grid = st.grid("auto", min_column_width=_WIDTH, gap="small")
        for panel in panels:
            with grid.cell():
                st.image(panel.pixels, alt=plain(panel.shows), width="stretch")
                st.caption(plain(f"{panel.shows}: {panel.answer}"))
    if effect is None:
        st.caption(plain(f"Nothing was changed in this image yet: camaudit verify {context.run.path}"))
    else:
        _show_falls(effect)


def _verified(context: Context, target: Target, effect: Effect | None) -> Iterator[_Panel]:
    """What verify tried, as far as it can be drawn again."""
    if effect is None:
        return
    try:
        redrawn = _redrawn(context, target)
    except (AuditError, OSError) as error:
        st.caption(plain(f"What verify took away cannot be drawn: {error}"))
        return
    yield _Panel(redrawn.whole, "The image as the network sees it", f"p {effect.probability:.2f}")
    for name in _DRAWN:
        pixels, fall = getattr(redrawn, name), getattr(effect, name)
        if pixels is not None and fall is not None:
            yield _Panel(pixels, f"Without {_CHANGES[name]}", _fell(effect.probability, effect.probability - fall))


def _redrawn(context: Context, target: Target) -> Redrawn:
    key = shown(context, target)
    return _redrawn_of(key, context)


@st.cache_resource(max_entries=24, show_spinner="Drawing it again …")
def _redrawn_of(key: Shown, _context: Context) -> Redrawn:
    return redraw(_context.run, key.sample, key.slot, key.class_id, key.reach)


def _quickly_checked(context: Context, target: Target) -> Iterator[_Panel]:
    """What the quick check laid over the background."""
    changed = _without_background(picture_of(shown(context, target)), target)
    if changed is None:
        st.caption("The quick check cannot be drawn: it needs the image and its object.")
        return
    reliance, before = target["quick_reliance"], target["probability"]
    answer = "this target was not asked" if reliance is None else _fell(before, before * (1 - reliance))
    yield _Panel(changed, "The quick check, the background scattered", answer)


def _without_background(picture: Picture, target: Target) -> NDArray[np.uint8] | None:
    """The picture as the quick check draws it, at this size and with other chances."""
    if picture.image is None or picture.target is None or picture.on_grey:
        return None
    mask = np.where(picture.target, target["class_id"] + 1, 0).astype(np.int16)
    image = (picture.image.transpose(2, 0, 1) / 255).astype(np.float32)
    changed = without_background(image, mask, target["class_id"], np.random.default_rng(0))
    return None if changed is None else np.rint(np.clip(changed, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


def _fell(before: float, after: float) -> str:
    return f"p {before:.2f} → {max(after, 0):.2f}"


def _show_falls(effect: Effect) -> None:
    """All that verify measured, and what it says."""
    st.caption(_AGAIN)
    rows = [(_CHANGES[name], getattr(effect, name)) for name in _CHANGES]
    told = [{"without": what, "p falls by": fall} for what, fall in rows if fall is not None]
    config = {"p falls by": st.column_config.NumberColumn(format="%.2f")}
    st.dataframe(pd.DataFrame(told), hide_index=True, column_config=config, width="content")
    st.caption(plain(f"From p {effect.probability:.2f}; {effect.outcome}."))
