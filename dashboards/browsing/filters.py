"""Which targets a page shows, and in which order: as an address says it, and as a query over the table of targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from audit.findings.pages.index import member
from audit.findings.records import UNTESTED

ANY, NONE = "any", "none"
"""Of findings and verdicts: whichever there is, or none."""
RIGHT, WRONG = "right", "wrong"
_LONGEST = 300
_NUMBERS = ("cluster", "probability", "severity", "area_from", "area_to")

_FALLING = ("suspicion", "severity", "oddness", "probability", "chance", "quick_reliance")
_RISING = ("energy", "q_low", "lift", "best_iou", "area", "id", "class")
TELLING = ""
"""The order of the table: findings by suspicion, then all others by severity."""
SORTS: dict[str, str] = {TELLING: "rank"} | dict.fromkeys(_FALLING, "DESC") | dict.fromkeys(_RISING, "ASC")
"""Columns to sort by, most telling first; a minus before the name turns the order round."""


Condition = tuple[str, dict[str, Any]]
"""SQL over the table `targets`, and the values that it binds."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which targets are shown; None leaves a filter open.

    Attributes:
        class_name: of the target.
        role: why its map was made.
        kind: of its finding; `ANY` or `NONE`.
        claim: `claim_id` of a standing claim that it counts for.
        cluster: its number in its class.
        attribute: of the sample, as NAME=VALUE.
        outcome: of interventions on it; `not tested` where none were made.
        verdict: what was decided about it; `ANY` or `NONE`.
        answer: `RIGHT` or `WRONG`, whether the first class that the model names is a label.
        status: of its score.
        probability, severity: the least.
        area_from, area_to: share of what was seen that is object.
        text: in the sample's id or attributes, small or capital.
    """

    class_name: str | None = None
    role: str | None = None
    kind: str | None = None
    claim: str | None = None
    cluster: int | None = None
    attribute: str | None = None
    outcome: str | None = None
    verdict: str | None = None
    answer: str | None = None
    status: str | None = None
    probability: float | None = None
    severity: float | None = None
    area_from: float | None = None
    area_to: float | None = None
    text: str | None = None

    def to_query(self) -> dict[str, str]:
        """As an address has them: those that are not open.

        >>> Filters(class_name="dog", probability=0.5).to_query()
        {'class': 'dog', 'probability': '0.5'}
        """
        values = ((_key(entry.name), getattr(self, entry.name)) for entry in fields(self))
        return {
            key: f"{value:g}" if isinstance(value, float) else str(value) for key, value in values if value is not None
        }

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Filters:
        """From an address, which anyone may have written: what makes no sense is left open.

        >>> Filters.from_query({"class": "dog", "probability": "much"}) == Filters(class_name="dog")
        True
        """
        asked = {entry.name: query.get(_key(entry.name), "")[:_LONGEST] for entry in fields(cls)}
        told: dict[str, Any] = {
            name: _number(name, text) if name in _NUMBERS else text or None for name, text in asked.items()
        }
        return cls(**told)

    def says(self) -> str:
        """In words; empty where all is open.

        >>> Filters(class_name="dog", verdict="none", area_from=0.1).says()
        'class dog, verdict none, area from 0.1'
        >>> Filters(kind=ANY).says()
        'any finding'
        """
        return ", ".join(
            _FINDINGS.get((entry.name, value), f"{_words(entry.name)} {value}") for entry, value in self._told()
        )

    def conditions(self, claims: Mapping[str, int]) -> Iterator[Condition]:
        """Conditions of which all must hold.

        Args:
            claims: place of each standing claim, by `claim_id`.
        """
        for entry, value in self._told():
            if entry.name == "claim":
                yield "list_contains(claims, $claim)", {"claim": claims.get(value, -1)}
            elif entry.name in _PLAIN:
                yield _PLAIN[entry.name], {entry.name: value}
            else:
                yield _READ[entry.name](value)

    def _told(self) -> list[tuple[Any, Any]]:
        told = ((entry, getattr(self, entry.name)) for entry in fields(self))
        return [(entry, value) for entry, value in told if value is not None]


_FINDINGS = {("kind", ANY): "any finding", ("kind", NONE): "no finding"}
_PLAIN = {
    "class_name": "class = $class_name",
    "role": "role = $role",
    "cluster": "cluster = $cluster",
    "status": "status = $status",
    "probability": "probability >= $probability",
    "severity": "severity >= $severity",
    "area_from": "area >= $area_from",
    "area_to": "area <= $area_to",
}


def order_by(sort: str) -> str:
    """The order as SQL, an unknown one is the table's; what is not known comes last, ties the most telling first.

    >>> order_by("energy"), order_by("-severity")
    ('energy ASC NULLS LAST, rank', 'severity ASC NULLS LAST, rank')
    """
    name, back = sort.removeprefix("-"), sort.startswith("-")
    if name == TELLING or name not in SORTS:
        return "rank DESC" if back else "rank"
    direction = {"ASC": "DESC", "DESC": "ASC"}[SORTS[name]] if back else SORTS[name]
    return f"{name} {direction} NULLS LAST, rank"


def _of_kind(value: str) -> Condition:
    if value in (ANY, NONE):
        return f"kind IS {'NOT ' if value == ANY else ''}NULL", {}
    return "kind = $kind", {"kind": value}


def _of_outcome(value: str) -> Condition:
    there = "EXISTS (SELECT 1 FROM effects AS e WHERE e.sample = targets.sample AND e.slot = targets.slot"
    if value == UNTESTED:
        return f"NOT {there})", {}
    return f"{there} AND e.outcome = $outcome)", {"outcome": value}


def _of_verdict(value: str) -> Condition:
    there = "EXISTS (SELECT 1 FROM verdicts AS v WHERE v.sample = targets.sample AND v.slot = targets.slot"
    if value in (ANY, NONE):
        return f"{'NOT ' if value == NONE else ''}{there})", {}
    return f"{there} AND v.decision = $verdict)", {"verdict": value}


def _of_attribute(value: str) -> Condition:
    name, _, wanted = value.partition("=")
    return "contains(attributes, $attribute)", {"attribute": member(name, wanted)}


def _of_answer(value: str) -> Condition:
    return '"right" = $answer', {"answer": value == RIGHT}


def _of_text(value: str) -> Condition:
    return "(contains(lower(id), $text) OR contains(lower(attributes), $text))", {"text": value.lower()}


def _words(name: str) -> str:
    return _key(name).replace("_", " ")


def _key(name: str) -> str:
    return "class" if name == "class_name" else name


def _number(name: str, text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return int(value) if name == "cluster" else value


_READ: dict[str, Callable[[str], Condition]] = {
    "kind": _of_kind,
    "attribute": _of_attribute,
    "outcome": _of_outcome,
    "verdict": _of_verdict,
    "answer": _of_answer,
    "text": _of_text,
}
"""Filters that are more than a comparison."""
