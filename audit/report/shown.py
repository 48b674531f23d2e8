"""Claims, findings and samples with their pictures: for the report, and one by one for a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.concepts.channels import channels_by_claim, said, targets_of
from audit.concepts.kept import STALE, About, Concept, Concepts, command
from audit.concepts.patches import PatchReader
from audit.concepts.shown import concept_tiles
from audit.datasets.reach import BELOW_ROOT, Reach
from audit.drawing.pixels import contact_sheet, shrink
from audit.drawing.targets import Picture as TargetPicture
from audit.drawing.targets import jpeg_bytes, read_target
from audit.errors import RunError
from audit.findings import Claim, Effect, Finding, Findings, Outcome
from audit.findings.claims.registry import kind_of
from audit.findings.records import ClaimChannel, Shown
from audit.report.html import Note, Picture, ShownClaim, ShownConcept, ShownMap, ShownSample, ShownTarget
from audit.store import Run
from audit.wording import one_line

SIDE = 288
"""Longer side of a picture, pixels."""
_CONCEPTS = 3
"""Of a claim that are shown."""

ReadTarget = Callable[[int, int], tuple[TargetPicture, str]]
"""From a sample and a slot to what there is to see of the target, and its name."""


def show_claim(findings: Findings, claim: Claim, reach: Reach = BELOW_ROOT) -> ShownClaim:
    """A claim with its interval, its outcome and the pictures that show it best; a notebook draws it as a card.

    Args:
        reach: which images and masks may be read.

    Raises:
        RunError: the run was not flagged yet, or its tables are damaged.
    """
    (shown,) = show_claims(findings, [claim], reads_of(findings.run, reach), PatchReader(findings.run, reach))
    return shown


def show_sample(findings: Findings, sample: str | int, reach: Reach = BELOW_ROOT) -> ShownSample:
    """A sample with the map of each of its targets, and what was found; a notebook draws it as cards.

    Args:
        sample: its id, or its row in the manifest.
        reach: which images and masks may be read.

    Raises:
        RunError: there is no such sample, it is pending, the run was not flagged yet, or its tables are damaged.
    """
    run = findings.run
    row = _row_of(run, sample) if isinstance(sample, str) else sample
    if not 0 <= row < run.samples:
        raise RunError(f"Expected a row from 0 to {run.samples - 1}, got {row}")
    shard, of_sample = run.shards[row // run.record["shard_size"]], pc.field("sample") == row
    (about,) = run.read("samples", shard, ["sample", "id", "status", "reason"]).filter(of_sample).to_pylist()
    targets = run.read("targets", shard).filter(of_sample).to_pylist()
    (listed,) = run.manifest(row, row + 1)
    found = {finding.slot: finding for finding in findings.about((row, target["slot"]) for target in targets)}
    effects, read = findings.effects(), reads_of(run, reach)
    maps = [
        _shown_map(target, found.get(target["slot"]), effects.get((row, target["slot"])), read) for target in targets
    ]
    return ShownSample(about["id"], [run.classes[label] for label in listed.labels], maps, about["reason"] or "")


def reads_of(run: Run, reach: Reach) -> ReadTarget:
    """What reads the targets of a run, at the size of a card's pictures."""
    return partial(read_target, run, longest=SIDE, reach=reach)


def show_claims(
    findings: Findings, claims: Sequence[Claim], read: ReadTarget, patches: PatchReader
) -> list[ShownClaim]:
    """Claims with their pictures, with what the channel that sets each apart most lies on, and with their concepts."""
    outcomes, shown, channels = findings.outcomes(), findings.shown(), channels_by_claim(findings)
    cards, concepts = [], Concepts(findings)
    for claim in claims:
        name = claim.claim_id
        card = _shown_claim(claim, outcomes.get(name), shown.get(name, Shown(name, (), ())), read)
        cards.append(_with_concepts(_with_patches(card, channels.get(name, ()), patches), concepts, patches))
    return cards


def show_targets(findings: Findings, targets: Iterable[tuple[int, int]], read: ReadTarget) -> list[ShownTarget]:
    """The findings about some targets, samples and slots, with their pictures."""
    effects = findings.effects()
    return [
        _shown_target(finding, effects.get((finding.sample, finding.slot)), read) for finding in findings.about(targets)
    ]


def _row_of(run: Run, sample_id: str) -> int:
    ids = run.manifest_file.rows(columns=["id"])["id"]
    row: int = pc.index(ids, sample_id).as_py()
    if row < 0:
        raise RunError(f"No sample {one_line(sample_id)} in {run.path}")
    return row


def _shown_claim(claim: Claim, outcome: Outcome | None, shown: Shown, read: ReadTarget) -> ShownClaim:
    pictures, notices = [], []
    for sample, slot in shown.examples:
        picture, about = read(sample, slot)
        notices += picture.notices
        pictures += _heat_over(picture, about)
    kind = kind_of(claim)
    heat = kind.frame_heat(claim, shown.heat)
    return ShownClaim(claim, outcome, pictures, kind.chosen if pictures else "", heat or None, _in_short(notices))


def _with_patches(card: ShownClaim, channels: Sequence[ClaimChannel], patches: PatchReader) -> ShownClaim:
    """The claim with what the channel that sets it apart most lies on."""
    tiles = patches.patches(targets_of(channels[0])) if channels else []
    if not tiles:
        return card
    seen = f"{said(channels[0])}: the images in which it carries most, cut out there."
    return replace(card, patches=_row(tiles, said(channels[0])), seen=seen)


def _with_concepts(card: ShownClaim, concepts: Concepts, patches: PatchReader) -> ShownClaim:
    """The claim with the first concepts that were found under its heat; with a line where they hold no more."""
    about = About.claim(card.claim)
    try:
        kept = concepts.of(about)
    except RunError as error:
        return replace(card, lacking=Note(f"{error}."))
    if kept is None:
        return card
    if not kept.current:
        return replace(card, lacking=Note(STALE, command(patches.run, about, kept.asked)))
    shown = [_shown_concept(concept, patches) for concept in kept.concepts[:_CONCEPTS]]
    return replace(card, concepts=shown, more=len(kept.concepts) - len(shown))


def _shown_concept(concept: Concept, patches: PatchReader) -> ShownConcept:
    says, tiles = concept.said(), concept_tiles(concept, patches)
    alts = (says, f"Where concept {concept.place} is")
    return ShownConcept(says, [_row(row, alt) for row, alt in zip(tiles, alts, strict=True) if row])


def _row(tiles: Sequence[NDArray[np.uint8]], alt: str) -> Picture:
    """Tiles beside one another."""
    return Picture(jpeg_bytes(contact_sheet([_opaque(tile) for tile in tiles], len(tiles))), alt)


def _opaque(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([tile, np.full(tile.shape[:2], 255, np.uint8)])


def _in_short(notices: Sequence[str]) -> list[str]:
    """The first notice, and how many others there are."""
    different = list(dict.fromkeys(notices))
    others = [f"There are {len(different) - 1} more such notices about these images."] if len(different) > 1 else []
    return [*different[:1], *others]


def _shown_target(finding: Finding, effect: Effect | None, read: ReadTarget) -> ShownTarget:
    picture, about = read(finding.sample, finding.slot)
    return ShownTarget(finding, effect, _overlays(picture, about), picture.notices)


def _shown_map(target: dict[str, Any], finding: Finding | None, effect: Effect | None, read: ReadTarget) -> ShownMap:
    if finding is not None:
        return ShownMap(target["class"], target["role"], target["probability"], _shown_target(finding, effect, read))
    picture, about = read(target["sample"], target["slot"])
    pictures = _overlays(picture, about)
    return ShownMap(target["class"], target["role"], target["probability"], None, pictures, picture.notices)


def _overlays(picture: TargetPicture, about: str) -> list[Picture]:
    """The image, the heat over it with the object outlined, the object outlined; what there is of them."""
    if picture.image is None:
        return []
    shown = [] if picture.on_grey else [_encoded(picture.with_contour(picture.image, wanted=False), about, "the image")]
    shown += _heat_over(picture, about)
    if picture.target is not None:
        shown.append(_encoded(picture.with_contour(picture.image), about, "the object outlined"))
    return shown


def _heat_over(picture: TargetPicture, about: str) -> list[Picture]:
    """The heat over the image, or over grey where that cannot be read; nothing without heat."""
    heat = picture.overlay(0.55)
    what = "the heat over grey, for the image cannot be read" if picture.on_grey else "the heat over it"
    return [] if heat is None else [_encoded(picture.with_contour(heat), about, what)]


def _encoded(pixels: NDArray[np.uint8], about: str, what: str) -> Picture:
    return Picture(jpeg_bytes(shrink(pixels, SIDE)), f"{about}: {what}")
