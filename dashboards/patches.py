"""What a claim's heat lies on: the patches of its first channel, small enough for a card."""

from __future__ import annotations

from functools import partial
from io import BytesIO

import numpy as np
import streamlit as st
from PIL import Image

from audit.concepts.channels import channels_by_claim, said, targets_of
from audit.concepts.patches import PatchReader
from audit.datasets.reach import Reach
from audit.errors import RunError
from audit.findings.records import ClaimChannel
from dashboards.state import Context

_TILE, _GAP, _SHOWN = 44, 2, 7


def first_channel(context: Context, claim_id: str) -> ClaimChannel | None:
    """The channel that sets a claim apart most; None where there is none, or it cannot be read."""
    rows = _channels(str(context.run.path), context.stamp, context).get(claim_id)
    return rows[0] if rows else None


def patch_strip(context: Context, row: ClaimChannel) -> bytes | None:
    """Its patches beside one another as WebP; None where no image can be read."""
    return _strip(str(context.run.path), context.stamp, row.claim_id, row.channel, context.reach, (context, row))


def words_of(row: ClaimChannel) -> str:
    """What the patches are, in a sentence."""
    return f"{said(row)}: where it carries most."


@st.cache_resource(max_entries=4, show_spinner=False)
def _channels(path: str, stamp: tuple[str, ...], _context: Context) -> dict[str, list[ClaimChannel]]:
    try:
        return channels_by_claim(_context.tables.findings) if _context.tables.flagged else {}
    except (RunError, ValueError, KeyError, TypeError):
        return {}


@st.cache_resource(max_entries=100, show_spinner=False)
def _strip(
    path: str, stamp: tuple[str, ...], claim_id: str, channel: int, reach: Reach, _of: tuple[Context, ClaimChannel]
) -> bytes | None:
    context, row = _of
    try:
        tiles = PatchReader(context.run, reach).patches(targets_of(row)[:_SHOWN], _TILE)
    except RunError:
        return None
    if not tiles:
        return None
    padded = map(partial(np.pad, pad_width=((0, 0), (0, _GAP), (0, 0)), constant_values=255), tiles)
    data = BytesIO()
    Image.fromarray(np.hstack(list(padded))).save(data, "WEBP", quality=85)
    return data.getvalue()
