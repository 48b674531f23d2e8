"""Small drawings as SVG, in the colours of the page that holds them: a share with its interval, heat in the frame."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from html import unescape

from markupsafe import Markup

from audit.drawing.palette import DARK, LIGHT, css_variables
from audit.store.layout import CELLS
from audit.wording import percent

STYLE = """
svg.bar { width: 13rem; height: 1.375rem; display: block; }
.track { stroke: var(--track); stroke-width: 2; } .interval { fill: var(--interval); }
.share { fill: var(--accent); } .expected { stroke: var(--ink); stroke-width: 2; }
svg.frame { width: 9rem; height: 9rem; background: var(--code); border-radius: 3px; display: block; }
svg.frame rect { fill: var(--accent); stroke: var(--line); stroke-width: .04; }
svg.frame .box { fill: none; stroke: var(--ink); stroke-width: .16; }
""".strip()
"""What a page needs beside `audit.drawing.palette.css_variables`."""
_LABEL = re.compile('aria-label="([^"]*)"')


def interval_bar(share: float | None, low: float | None, high: float | None, expected: float | None) -> Markup:
    """A share on the way from 0 to 100 %: its interval as a bar, itself as a dot, what it is compared with as a tick.

    Nothing where the share is not known.
    """
    if share is None:
        return Markup("")
    spoken = percent(share)
    parts = [Markup('<line class="track" x1="4" x2="204" y1="11" y2="11"/>')]
    if low is not None and high is not None:
        spoken += f", interval {percent(low)} to {percent(high)}"
        parts.append(
            Markup('<rect class="interval" x="{}" width="{}" y="7" height="8" rx="3"/>').format(
                _across(low), round(max(_across(high) - _across(low), 2.0), 1)
            )
        )
    if expected is not None:
        spoken += f", compared with {percent(expected)}"
        at = _across(expected)
        parts.append(Markup('<line class="expected" x1="{0}" x2="{0}" y1="2" y2="20"/>').format(at))
    parts.append(Markup('<circle class="share" cx="{}" cy="11" r="4.5"/>').format(_across(share)))
    head = Markup('<svg class="bar" viewBox="0 0 208 22" role="img" aria-label="{}">').format(spoken)
    return head + Markup("").join(parts) + Markup("</svg>")


def as_image(drawing: Markup) -> Markup:
    """A drawing as an image of its own, for pages that take no SVG; light or dark as the system is."""
    said = _LABEL.search(drawing)
    style = (
        f"svg {{ {css_variables(LIGHT)} }} @media (prefers-color-scheme: dark) {{ svg {{ {css_variables(DARK)} }} }}"
    )
    head, body = drawing.split(">", 1)
    whole = f'{head} xmlns="http://www.w3.org/2000/svg"><style>{style} {STYLE}</style>{body}'
    data = b64encode(whole.encode()).decode()
    kind = "frame" if 'class="frame"' in head else "bar"
    return Markup('<img class="{}" src="data:image/svg+xml;base64,{}" alt="{}">').format(
        kind, data, unescape(said[1]) if said else ""
    )


def _across(share: float) -> float:
    return round(4 + 200 * min(max(share, 0.0), 1.0), 1)


def heat_frame(heat: Sequence[float], box: Sequence[float] | None = None) -> Markup:
    """The frame in 8 x 8 cells, the hotter the fuller, and a box (x0, y0, x1, y1 as shares of the frame) on it."""
    most = max(heat) or 1.0
    cells = [
        Markup('<rect x="{}" y="{}" width="1" height="1" fill-opacity="{}"/>').format(
            place % CELLS, place // CELLS, round(value / most, 3)
        )
        for place, value in enumerate(heat)
    ]
    label = f"Mean heat by part of the frame, at most {percent(most)} in one of {CELLS * CELLS} cells"
    if box is not None:
        x0, y0, x1, y1 = (CELLS * float(value) for value in box)
        shape = '<rect class="box" x="{}" y="{}" width="{}" height="{}"/>'
        cells.append(Markup(shape).format(x0, y0, x1 - x0, y1 - y0))
        label += "; the spot is boxed"
    head = Markup('<svg class="frame" viewBox="-0.1 -0.1 {0} {0}" role="img" aria-label="{1}">')
    return head.format(CELLS + 0.2, label) + Markup("").join(cells) + Markup("</svg>")
