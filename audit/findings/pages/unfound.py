"""What would have been found, in sentences, from what summary.json keeps of it: no test is needed to say that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from audit.wording import number, percent, shorten

_NEARLY_ALL = 0.99
_RARER = "rarer ones may be there"


def explain_silence(summary: Mapping[str, Any], most: int = 5) -> list[str]:
    """Sentences on what would have been found, what is known least about first, and on what stands out."""
    rows = summary.get("detectable", [])
    of_classes = _grouped((row["class_name"], row) for row in rows if row["class_name"] is not None)
    of_groups = _grouped((row["subject"], row) for row in rows if row["class_name"] is None)
    said = [_explain(name, ways) for name, ways in of_classes[:most]]
    if len(of_classes) > most:
        said.append(f"{number(len(of_classes) - most)} more classes without a claim: in summary.json")
    said += [_explain_group(name, ways) for name, ways in of_groups[:most]]
    return said + [_stands_out(row) for row in summary.get("stands_out", [])[:most]]


def _grouped(rows: Iterable[tuple[str, dict[str, Any]]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows by name, those first of which the commonest shortcut must be the commonest."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, row in rows:
        groups.setdefault(name, []).append(row)
    return sorted(groups.items(), key=lambda group: -min((row["share"] or 2.0 for row in group[1]), default=2.0))


def _explain(name: str, rows: Sequence[dict[str, Any]]) -> str:
    ways = [(_at_least(row["share"]), row["how"]) for row in rows if row["share"]]
    if not ways:
        return f"{shorten(name)}: too few images to find any shortcut"
    (share, how), *more = ways
    others = "".join(f", in {share} {how}" for share, how in more)
    return f"{shorten(name)}: a shortcut in {share} of the images would have been found {how}{others}; {_RARER}"


def _explain_group(name: str, rows: Sequence[dict[str, Any]]) -> str:
    ways = [f"{_at_least(row['share'])} {row['how']}" for row in rows if row["share"]]
    if not ways:
        return f"Images with {shorten(name)}: too few to find that they are worse"
    return f"Images with {shorten(name)}: it would have been found if {', or '.join(ways)}; {_RARER}"


def _at_least(share: float) -> str:
    return "nearly all" if share > _NEARLY_ALL else f"{percent(share)} or more"


def _stands_out(row: dict[str, Any]) -> str:
    more = "very many more images like these" if row["more"] is None else f"{row['more']} more images like these"
    looks_off = f"{row['off_object']} of {row['confident']} images look off the object"
    return f"{shorten(row['class_name'])} stands out: {looks_off}, too few to be sure; {more} would settle it"
