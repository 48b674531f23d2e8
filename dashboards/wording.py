"""What the pages say in words. Names of samples and classes are other people's text: they are shown, never rendered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=\"'])")


def shorten(text: str, most: int = 40) -> str:
    """A text in one line of at most `most` characters."""
    line = " ".join(str(text).split())
    line = "".join(sign if sign.isprintable() else "�" for sign in line)
    return line if len(line) <= most else line[: most - 1] + "…"


def plain(text: str, most: int = 400) -> str:
    """A text that Markdown shows as it is: every sign that could mean something is escaped.

    >>> plain("<b>*1*</b>")
    '\\\\<b\\\\>\\\\*1\\\\*\\\\</b\\\\>'
    """
    return _MARKUP.sub(r"\\\1", shorten(text, most))


def percent(share: float | None) -> str:
    """A share as whole percent."""
    return "none" if share is None else f"{100 * share:.0f} %"


def class_sentence(row: Mapping[str, Any]) -> str:
    """What is found about a class, from a row of the class findings."""
    interval = f"95 % interval {100 * row['share_low']:.0f} to {percent(row['share_high'])}"
    return (
        f"{shorten(row['class'])}: in {row['off_object']} of {row['confident']} confidently named images the map looks "
        f"off the object ({percent(row['share'])}, {interval}). Over its {row['targets']} scored targets, "
        f"{percent(row['energy'])} of the heat lies on the object, which covers {percent(row['area'])} of the view."
    )


def finding_sentence(finding: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    """What a finding about a target says, from its row and the target's scores."""
    name = shorten(finding["class"])
    if finding["kind"] == "detected":
        return (
            f"{name} was named with probability {finding['probability']:.2f}. The sample has no mask; by where its "
            f"heat lies, a detector takes it to look off the object (probability {finding['severity']:.2f})."
        )
    where = f"{percent(finding['energy'])} of the heat lies on the object, which covers {percent(finding['area'])}"
    if finding["kind"] == "avoids":
        return (
            f"The map of {name} avoids the object: {where} of the view. Put at random places, the same heat would do "
            f"as badly in only {_share_of_places(target['p_low'])} (q_low {finding['q_low']:.2g})."
        )
    return (
        f"{name} was named with probability {finding['probability']:.2f}, but its map is indifferent to the object: "
        f"{where} of the view. Put at random places, the same heat would do as well in "
        f"{_share_of_places(finding['chance'])} (the chance)."
    )


def _share_of_places(p: float | None) -> str:
    if p is None:
        return "an unknown share of them"
    return f"{100 * p:.0f} % of them" if p >= 0.01 else f"{100 * p:.1g} % of them"
