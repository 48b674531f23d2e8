"""Channels as people see them: a sheet of patches for a class or a claim, and what is told of each channel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from audit.concepts.carrying import Carrying
from audit.concepts.patches import PatchReader, Target
from audit.concepts.sheets import Strip, draw_sheet
from audit.errors import RunError
from audit.findings import Claim, Findings
from audit.findings.claims.registry import kind_of
from audit.findings.records import HEAT_ALONE, NOBODY, ClaimChannel
from audit.store import Run, layout
from audit.store.storage.files import file_stem, write_atomically
from audit.store.storage.objects import Location
from audit.wording import percent


def claims_asked(findings: Findings, claim_id: str | None) -> list[Claim]:
    """The claims that stand, those about whole classes first; or the one that is named.

    Raises:
        RunError: no claim of this name stands.
    """
    claims = sorted(findings.standing_claims(), key=_whole_first)
    if claim_id is None:
        return claims
    named = [claim for claim in claims if claim.claim_id == claim_id]
    if not named:
        some = ", ".join(claim.claim_id for claim in claims[:5]) or "none at all"
        raise RunError(f"Expected a claim of {findings.run.path} that stands, as {some}; got {claim_id!r}")
    return named


def _whole_first(claim: Claim) -> tuple[bool, bool]:
    return claim.rests_on == HEAT_ALONE, not kind_of(claim).whole


def class_asked(run: Run, name: str) -> int:
    """Place of a class among the run's.

    Raises:
        RunError: it has none of this name.
    """
    if name not in run.classes:
        raise RunError(f"Expected a class of {run.path}, as {', '.join(run.classes[:10])}; got {name!r}")
    return run.classes.index(name)


def said(row: ClaimChannel) -> str:
    """A claim's channel in a sentence.

    >>> row = ClaimChannel(
    ...     claim_id="class:disc:", place=1, channel=7, share=0.4, share_of_others=0.1, carries=18, images=20,
    ...     of_others=2, others=40, against="rest of the class", p=1e-9, q=1e-8, apart=True, patches={})
    >>> said(row)
    'Channel 7 carries 40 % of the heat off the object (10 % in the rest of the class)'
    """
    beside = "" if row.against == NOBODY else f" ({percent(row.share_of_others)} in {_the(row.against)})"
    return f"Channel {row.channel} carries {percent(row.share)} of the heat off the object{beside}"


def _the(against: str) -> str:
    return against if against.startswith("other") else f"the {against}"


def strip_of_claim(row: ClaimChannel, reader: PatchReader) -> Strip:
    """A row of a claim's sheet."""
    lines = [f"{percent(row.share)} of the heat off the object"]
    if row.against != NOBODY:
        lines.append(f"{percent(row.share_of_others)} in {_the(row.against)}")
        lines.append("sets the claim apart" if row.apart else "as often by chance")
    return Strip(f"channel {row.channel}", lines, reader.patches(targets_of(row)))


def strip_of_class(row: Carrying, reader: PatchReader) -> Strip:
    """A row of a class's sheet."""
    lines = [f"{percent(row.share)} of the heat", f"leads in {row.carries} of {row.images} images"]
    return Strip(f"channel {row.channel}", lines, reader.patches(row.patches))


def targets_of(row: ClaimChannel) -> list[Target]:
    """Sample, slot and cell of its patches."""
    return [(int(sample), int(slot), int(cell)) for sample, slot, cell in row.patches.get("targets", ())]


def channels_by_claim(findings: Findings) -> dict[str, list[ClaimChannel]]:
    """The channels of each claim by its `claim_id`, those that set it apart first."""
    by_claim: dict[str, list[ClaimChannel]] = {}
    for row in findings.channels():
        by_claim.setdefault(row.claim_id, []).append(row)
    return by_claim


def write_sheet(run: Run, name: str, strips: Sequence[Strip]) -> Location | None:
    """Write RUN/report/channels/NAME.jpg, and return where; nothing where no patch can be shown."""
    if not any(strip.tiles for strip in strips):
        return None
    path = run.path / layout.REPORT / layout.CHANNEL_SHEETS / f"{file_stem(name)}.jpg"
    write_atomically(path, partial(_save, draw_sheet(strips)))
    return path


def plain(rows: Iterable[Carrying]) -> list[dict[str, Any]]:
    """A class's channels as JSON has them."""
    return [
        {
            "class": row.class_name,
            "channel": row.channel,
            "share": row.share,
            "carries": row.carries,
            "images": row.images,
            "targets": [list(target) for target in row.patches],
        }
        for row in rows
    ]


def _save(sheet: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(sheet).save(path, "JPEG", quality=90)
