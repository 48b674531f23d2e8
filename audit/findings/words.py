"""What outcomes, sureness and sources are called where people read: the report, the dashboard."""

from __future__ import annotations

OUTCOMES = {
    "confirmed": "Confirmed: with the background changed, the model's answer changes.",
    "needs context": "Needs context: it changes so, but in images of the class that are not flagged as well.",
    "refuted": "Refuted: with the background changed, the answer stays; without the object it does not.",
    "inconclusive": "Inconclusive: changing the background had too small or too mixed an effect to tell.",
    "not tested": "Not tested: nothing was changed in these images, so the heat is all there is to go by.",
}
"""What an outcome means, in a sentence."""
SIGNS = {"confirmed": "●", "needs context": "◑", "refuted": "○", "inconclusive": "◐", "not tested": "–"}  # noqa: RUF001
"""Signs of outcomes, which tell them apart without colour."""
RESTS_ON = {
    "mask": "the object's mask",
    "masks": "object masks",
    "boxes": "object boxes",
    "masks and boxes": "object masks, and boxes where there is none",
    "detection": "its own box",
    "detections": "the boxes that the network gave",
    "region": "its own region",
    "regions": "the regions that the network gave",
    "heat alone": "the heat alone; no object is known",
    "activations": "which channels of the network the heat comes from",
    "detector": "a detector fitted to the images with masks",
    "labels": "labels",
}
"""What a claim or finding rests on."""


def sure(q: float | None, fdr: float) -> str:
    """How sure a q value makes one, in words and as the number.

    >>> sure(0.0004, 0.05), sure(0.03, 0.05), sure(None, 0.05)
    ('almost certainly not chance (q under 0.001)', 'unlikely to be chance (q 0.03)', 'not tested against chance')
    """
    if q is None:
        return "not tested against chance"
    if q < 0.001:
        return "almost certainly not chance (q under 0.001)"
    words = "very unlikely to be chance" if q < 0.01 else "unlikely to be chance" if q <= fdr else "may be chance"
    return f"{words} (q {q:.2g})"
