"""What a run found as figures: functions that draw on matplotlib's axes and return them.

Each takes the axes to draw on, or makes its own through `pyplot`, as a notebook shows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.datasets.reach import BELOW_ROOT, Reach
from audit.drawing.palette import LIGHT
from audit.drawing.pixels import shrink
from audit.drawing.targets import read_target
from audit.errors import RunError
from audit.findings import Claim, Findings
from audit.findings.claims.registry import kind_of
from audit.findings.words import SIGNS
from audit.store import Run
from audit.store.layout import CELLS
from audit.wording import number, one_line, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 20
"""Of the severity, from 0 to 1."""
MOST = 16
"""Claims in a figure."""
_COLOURS = {"confirmed": "bad", "needs context": "mixed", "refuted": "good", "inconclusive": "soft"}
_SIDE = 480
_NAME = 50


def draw_severities(findings: Findings, ax: Axes | None = None) -> Axes:
    """How many judged targets have which severity: a bar for each of `BINS` steps, findings apart from all others.

    Raises:
        RunError: the run was not flagged yet, or not since it has changed.
    """
    table = findings.index(["severity", "kind"])
    table = table.filter(pc.and_(pc.is_valid(table["severity"]), pc.is_finite(table["severity"])))
    found = pc.is_valid(table["kind"]).to_numpy()
    severity = table["severity"].to_numpy()
    edges = np.linspace(0, 1, BINS + 1)
    values, colours = [severity[found], severity[~found]], [LIGHT["accent"], LIGHT["track"]]
    ax = _axes(ax, 6.4, 3.0)
    labels = [f"{name} ({number(len(part))})" for name, part in zip(("findings", "others"), values, strict=True)]
    ax.hist(values, bins=list(edges), stacked=True, color=colours, label=labels, edgecolor=LIGHT["card"], linewidth=0.5)
    ax.set(xlabel="severity", ylabel="targets", xlim=(0, 1))
    ax.legend(frameon=False)
    return _plain(ax)


def draw_claims(findings: Findings, most: int = MOST, ax: Axes | None = None) -> Axes:
    """The claims that stand, the surest above: share with its 95 % interval, and a tick for what it is compared with.

    Claims without a share, as clusters have none, are left out.

    Args:
        most: claims.

    Raises:
        RunError: the run was not flagged yet, or not since it has changed.
    """
    shares = [(claim, claim.share) for claim in findings.standing_claims() if claim.share is not None][:most]
    ax = _axes(ax, 7.2, 1.0 + 0.32 * max(len(shares), 1))
    for place, (claim, share) in enumerate(shares):
        colour = LIGHT[_COLOURS.get(claim.outcome, "ink")]
        ends = _interval(claim)
        if ends is not None:
            ax.hlines(place, *ends, color=colour, linewidth=4, alpha=0.35)
        if claim.expected is not None:
            ax.plot(claim.expected, place, "|", color=LIGHT["ink"], markersize=11)
        ax.plot(share, place, "o", color=colour)
    ax.set_yticks(range(len(shares)), [_name(claim) for claim, _ in shares])
    ax.set(xlim=(-0.02, 1.02), ylim=(len(shares) - 0.5, -0.5), xlabel="share of images, with 95 % interval")
    ax.set_title("| what it is compared with; colour: outcome", loc="left", fontsize=9, color=LIGHT["soft"])
    return _plain(ax)


def draw_target(run: Run, sample: int, slot: int = 0, reach: Reach = BELOW_ROOT, ax: Axes | None = None) -> Axes:
    """A sample under the map of one of its targets, the object outlined where it is known.

    Args:
        sample: row in the manifest.
        reach: which images and masks may be read. Of an image that cannot be read the map is drawn on grey.

    Raises:
        RunError: the run's tables are damaged, or there is nothing to see of the target.
    """
    picture, about = read_target(run, sample, slot, _SIDE, reach)
    pixels = picture.overlay(0.55)
    if pixels is None:
        raise RunError(" ".join(picture.notices) or f"There is no map of {one_line(about)}")
    ax = _axes(ax, 4.0, 4.0)
    ax.imshow(shrink(picture.with_contour(pixels), _SIDE))
    ax.set_title(_text(shorten(about, _NAME)), fontsize=10)
    ax.set_axis_off()
    return ax


def draw_mean_heat(findings: Findings, class_name: str, ax: Axes | None = None) -> Axes:
    """Where the heat of a class lies off its object: the mean share in each of the frame's 8 x 8 cells.

    Of targets that were named with confidence.

    Raises:
        RunError: the run has no such class, no such target of it, or was not flagged.
    """
    heat, targets = mean_heat(findings, class_name)
    ax = _axes(ax, 4.2, 3.6)
    image = ax.imshow(heat, cmap="inferno", vmin=0, extent=(0, 100, 100, 0))
    ax.set(xlabel="x, % of the frame", ylabel="y, % of the frame")
    ax.set_title(_text(f"{shorten(class_name, _NAME)}, {number(targets)} images"), fontsize=10)
    bar = ax.figure.colorbar(image, ax=ax)
    bar.set_label("mean share of the heat, off the object")
    return ax


def mean_heat(findings: Findings, class_name: str) -> tuple[NDArray[np.float64], int]:
    """The mean share [8, 8] of the heat that lies off the object, by cell, and of how many targets that is the mean.

    Raises:
        RunError: as of `draw_mean_heat`.
    """
    run = findings.run
    if class_name not in run.classes:
        raise RunError(f"No class {one_line(class_name)} in {run.path}")
    class_id, total, targets = run.classes.index(class_name), np.zeros(CELLS * CELLS), 0
    for part in findings.evidence(run.having("scores")):
        counted = part.evidence.named & (part.evidence.class_id == class_id)
        heat = part.evidence.off_heat[counted].astype(np.float64)
        total += np.nan_to_num(heat).sum(axis=0)
        targets += int(counted.sum())
    if not targets:
        raise RunError(f"No image of {one_line(class_name)} in {run.path} was named with confidence")
    return (total / targets).reshape(CELLS, CELLS), targets


def _interval(claim: Claim) -> tuple[float, float] | None:
    """Ends of the share's interval; of a difference's, where that is laid on what it is a difference from."""
    if claim.low is None or claim.high is None:
        return None
    base = claim.expected if kind_of(claim).difference else 0.0
    return None if base is None else (max(base + claim.low, 0.0), min(base + claim.high, 1.0))


def _name(claim: Claim) -> str:
    about = f"{claim.class_name or 'all classes'}, {claim.kind}: {claim.subject}"
    return _text(f"{SIGNS.get(claim.outcome, '')} {shorten(about, _NAME)}")


def _text(text: str) -> str:
    """A text that matplotlib takes for no formula."""
    return text.replace("$", r"\$")


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes that were given, or those of a new figure, inches."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def _plain(ax: Axes) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    return ax
