"""What a claim's heat lies on: the patches of its first channel and concept, small enough for a card."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from io import BytesIO

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from audit.concepts.channels import channels_by_claim, said, targets_of
from audit.concepts.kept import STALE, UNTRIED, About, Concept, Concepts, Kept, command, why_none
from audit.concepts.patches import PatchReader
from audit.concepts.shown import concept_tiles
from audit.datasets.reach import Reach
from audit.errors import RunError
from audit.findings import Claim
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
    return _webp([tiles]) if tiles else None


def concepts_of(context: Context, claim: Claim) -> Kept | str:
    """The concepts that lie under a claim's heat; or why there are none to be seen, empty where nobody looked."""
    return _concepts(str(context.run.path), context.stamp, claim.claim_id, (context, claim))


def concept_picture(context: Context, claim: Claim, concept: Concept) -> bytes | None:
    """Its patches, and below them the whole images with where it is, as WebP; None where no image can be read."""
    of = (context, concept)
    return _concept(str(context.run.path), context.stamp, claim.claim_id, concept.place, context.reach, of)


def about_concepts(context: Context, claims: Sequence[Claim]) -> str:
    """What to do where no claim has concepts, or why there can be none; empty where one has, and of no claim at all."""
    if not claims or any(concepts_of(context, claim) for claim in claims):
        return ""
    return why_none(context.run) or f"{UNTRIED} {command(context.run)}"


@st.cache_resource(max_entries=200, show_spinner=False)
def _concepts(path: str, stamp: tuple[str, ...], claim_id: str, _of: tuple[Context, Claim]) -> Kept | str:
    context, claim = _of
    about = About.claim(claim)
    try:
        kept = Concepts(context.tables.findings).of(about)
    except RunError as error:
        return str(error)
    if kept is None or kept.current:
        return kept or ""
    return f"{STALE} {command(context.run, about, kept.asked)}"


@st.cache_resource(max_entries=200, show_spinner=False)
def _concept(
    path: str, stamp: tuple[str, ...], claim_id: str, place: int, reach: Reach, _of: tuple[Context, Concept]
) -> bytes | None:
    context, concept = _of
    try:
        rows = [row for row in concept_tiles(concept, PatchReader(context.run, reach), _SHOWN, _TILE) if row]
    except RunError:
        return None
    return _webp(rows) if rows else None


def _webp(rows: Sequence[Sequence[NDArray[np.uint8]]]) -> bytes:
    """Rows of as many tiles each, a gap between them."""
    beside = partial(np.pad, pad_width=((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
    data = BytesIO()
    Image.fromarray(np.vstack([np.hstack([beside(tile) for tile in row]) for row in rows])).save(
        data, "WEBP", quality=85
    )
    return data.getvalue()
