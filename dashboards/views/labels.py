"""A sample's masks in each of the run's label sets, side by side, at one threshold."""

from __future__ import annotations

import streamlit as st

from audit.drawing.labels import Drawable, draw_masks, read_label
from audit.drawing.targets import Picture
from audit.errors import RunError
from audit.store import Run
from audit.store.label_store import LabelStore
from audit.wording import plain
from dashboards.state import Context, fragment

_ACROSS = 3
_START = 0.3


@fragment
def show_labels(context: Context, sample: int, picture: Picture) -> None:
    """Draw them, or say why there are none."""
    names = LabelStore.names(context.run)
    if picture.image is None:
        return
    if not names:
        st.caption(plain(f"No label set was made: camaudit labels {context.run.path}"))
        return
    threshold = st.slider(
        "Threshold of the labels", 0.0, 1.0, _START, 0.01, key="labels threshold", persist_state="session"
    )
    for first in range(0, len(names), _ACROSS):
        for panel, name in zip(st.columns(_ACROSS), names[first : first + _ACROSS], strict=False):
            with panel:
                _show_one(context, name, sample, picture, threshold)


def _show_one(context: Context, name: str, sample: int, picture: Picture, threshold: float) -> None:
    try:
        refine = LabelStore.open(context.run, name).record["refine"]
        label = _label(str(context.run.path), name, sample, context.stamp, context.run)
    except RunError as error:
        st.warning(plain(str(error)))
        return
    st.text(f"{name}: {refine or 'not refined'}")
    assert picture.image is not None
    mask = label.mask_at(threshold, (picture.image.shape[0], picture.image.shape[1]))
    if mask is None:
        st.caption(plain(label.reason))
        return
    st.image(picture.with_contour(draw_masks(picture.image, mask), wanted=False), width="stretch")
    present = [(class_id, float((mask == class_id + 1).mean())) for class_id in label.class_ids]
    shown = ", ".join(f"{context.run.classes[class_id]} {share:.0%}" for class_id, share in present if share)
    st.caption(plain(shown or f"background alone: no map reaches {threshold:.2f}"))


@st.cache_data(max_entries=32, ttl=60, show_spinner=False)
def _label(path: str, name: str, sample: int, stamp: tuple[str, ...], _run: Run) -> Drawable:
    return read_label(_run, name, sample)
