"""Shortcuts of graded strength in a run's own heat: from which share of a class's images on are they found?

The certificate of `audit.findings.power` is a formula. Here a shortcut is planted in the tables of a run, and the
claims are tested again: the class's images, objects and maps are what they are, and so are the other classes. In a
random share of the class's units three quarters of the heat move to one place of 2 x 2 cells, another one in each draw.
Half of the class's images at least leave it free; in the others the object lies there, and hides the shortcut. Neither
an image nor the model is asked: what is simulated is the audit, not the network.

Or the model was asked: of the same samples there is a second run, painted with a cue (`camaudit plant`). In a random
share of the units its targets take the place of one's own. Contexts and what is tested of them stay as they are.

A unit that is planted at a share is planted at every larger one. So in each draw the least share that is found is
looked for by halving.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import RunError
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.spots import Spots
from audit.findings.claims.votes import FEWEST, count_votes
from audit.findings.claims.whole_class import WholeClasses, class_findings
from audit.findings.claims.zones import Zones
from audit.findings.evidence.frame import bits_as_cells
from audit.findings.evidence.targets import Evidence
from audit.findings.findings import Findings
from audit.findings.painted import Painted, read_evidence
from audit.findings.power import SURE
from audit.findings.records import ClassFinding
from audit.findings.rules import Rules
from audit.progress import Advanced, Progress, silent, stretch
from audit.store import Run
from audit.store.layout import CELLS
from audit.wording import listed

SHARES = tuple(round(0.1 * step, 1) for step in range(1, 11))
"""Of a class's images, that are tried unless others are asked for."""
DRAWN = 0.75
"""Share of the heat that the shortcut draws."""
OTHERS = 20_000
"""Images of other classes that stand for all of them, at most."""
_SIDE = 2
_FREE = 0.5


@dataclass(frozen=True)
class Grade:
    """How a planted shortcut fared with one class and kind of claim.

    Attributes:
        kind: of claim.
        how: what the shortcut does, in words; empty where nothing is certified.
        images: units that could get it.
        certified: share at which it would be found by formula; None for too few images.
        found: share of images -> share of draws in which it was found.
        least: smallest share from which it was found in `SURE` of the draws; None for none.
    """

    class_name: str
    kind: str
    how: str
    images: int
    certified: float | None
    found: dict[float, float]
    least: float | None


@dataclass(frozen=True)
class Graded:
    """All grades.

    Attributes:
        draws: for each class and kind.
        left_out: sentences on what was not graded.
        painted: sentences on what the cue does to a class, where a painted run was given.
    """

    draws: int
    seed: int
    grades: list[Grade] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    painted: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """As plain values, for other programs."""
        grades = [asdict(row) | {"found": [list(pair) for pair in row.found.items()]} for row in self.grades]
        return asdict(self) | {"grades": grades}


@dataclass(frozen=True)
class Grading:
    """What `grade_run` is asked.

    Raises:
        ValueError: a value that cannot be.

    Attributes:
        classes: names; all that can be tested if there are none.
        shares: of a class's images, ascending.
        draws: for each class and kind.
        seed: of who is planted, and where.
    """

    classes: tuple[str, ...] = ()
    shares: tuple[float, ...] = SHARES
    draws: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise ValueError(f"Expected shares above 0 and up to 1, got {', '.join(map(str, self.shares)) or 'none'}")
        if list(self.shares) != sorted(set(self.shares)):
            raise ValueError(f"Expected ascending shares, got {', '.join(map(str, self.shares))}")
        if self.draws < 1 or self.seed < 0:
            raise ValueError(f"Expected at least one draw and a seed from 0 on, got {self.draws} and {self.seed}")

    def check(self, classes: Sequence[str]) -> None:
        """See that they are classes of the run.

        Raises:
            ValueError: one is not.
        """
        unknown = [name for name in self.classes if name not in classes]
        if unknown:
            raise ValueError(f"Expected a class of the run, got {listed(unknown)}")


def grade_run(run: Run, asked: Grading, progress: Progress = silent, painted: Run | None = None) -> Graded:
    """Plant shortcuts in the stored heat of classes, and test for them; nothing is written.

    Args:
        painted: a run of the same samples with a cue in them, whose targets are taken instead of moving heat.

    Raises:
        ValueError: the run has no such class.
        RunError: a run has no findings, too few images, or a damaged table; or none of its samples is in the other.
    """
    asked.check(run.classes)
    own = _Own.of(run, progress)
    twins = None if painted is None else Painted.of(run, painted, own.rules, progress)
    names = asked.classes or [run.classes[i] for i in np.flatnonzero(own.material.votes.images >= FEWEST)]
    if not names:
        raise RunError(f"{run.path} has no class with {FEWEST} images named with confidence: there is nothing to grade")
    graded = Graded(asked.draws, asked.seed)
    with stretch(progress, "grading", len(names) * len(_KINDS) * asked.draws) as told:
        for name in names:
            class_id = run.classes.index(name)
            near = own.around(class_id, np.random.default_rng(asked.seed))
            if twins is not None:
                graded.painted.append(twins.told(own.evidence, class_id))
            for kind in _KINDS:
                made = _grade(near, name, kind, asked, twins, told)
                if isinstance(made, str):
                    graded.left_out.append(made)
                else:
                    graded.grades.append(made)
    return graded


_KINDS: tuple[ClaimKind, ...] = (WholeClasses(), Spots(), Zones())


@dataclass(frozen=True)
class _Own:
    """What a run holds of the targets with a vote.

    Attributes:
        area: [n] share of what was seen that is object; NaN where none is known.
    """

    evidence: Evidence
    area: NDArray[np.float64]
    rules: Rules

    @classmethod
    def of(cls, run: Run, progress: Progress) -> _Own:
        findings = Findings(run)
        findings.check()
        rules = findings.rules()
        evidence, area = read_evidence(run, rules, progress)
        rows = np.sort(count_votes(evidence).rows)
        return cls(evidence.take(rows), area[rows], rules)

    @cached_property
    def material(self) -> Material:
        """As it is."""
        return Material(self.evidence, self.rules, self._classes(self.evidence, certify=True))

    def found(self, evidence: Evidence, class_id: int, kind: ClaimKind) -> bool:
        """Whether a claim of the kind about the class stands, with this evidence."""
        classes = self._classes(evidence, certify=False) if kind.whole else ()
        claims = kind.test(Material(evidence, self.rules, classes))
        return any(claim.found and claim.class_id == class_id for claim in claims)

    def _classes(self, evidence: Evidence, certify: bool) -> Sequence[ClassFinding]:
        if not evidence.known.any():
            return ()
        nothing = np.full(len(evidence), np.nan)
        columns: dict[str, NDArray[Any]] = {"class_id": evidence.class_id, "probability": evidence.probability}
        columns |= {"area": self.area, "energy": nothing, "lift": nothing, "vote": evidence.named}
        return class_findings(columns, evidence.off, evidence.classes, self.rules, certify)

    def around(self, class_id: int, rng: np.random.Generator) -> _Own:
        """The same with some of the other classes' targets, where there are very many."""
        others = np.flatnonzero(self.evidence.class_id != class_id)
        if len(others) <= OTHERS:
            return self
        kept = rng.choice(others, OTHERS, replace=False)
        rows = np.sort(np.concatenate([np.flatnonzero(self.evidence.class_id == class_id), kept]))
        return _Own(self.evidence.take(rows), self.area[rows], self.rules)


Shortcut = Callable[[Evidence, NDArray[np.integer]], Evidence]
"""Gives the same evidence with a shortcut in some of its rows."""


def _grade(own: _Own, name: str, kind: ClaimKind, asked: Grading, twins: Painted | None, told: Progress) -> Grade | str:
    """The grade, or why there is none."""
    class_id = own.evidence.classes.index(name)
    certified = {row.class_name: row for row in kind.detectable(own.material)}
    places = _places(own.material, class_id, corners=isinstance(kind, Zones))
    moved: list[Shortcut] = [partial(plant_shortcut, place=place) for place in places]
    shortcuts = moved if twins is None else [twins.show]
    why = _why_not(own, class_id, kind, name in certified, bool(shortcuts))
    if why:
        told(Advanced(asked.draws))
        return f"{name}, {kind.title}: {why}"
    rng, least = np.random.default_rng([asked.seed, class_id]), []
    for _ in range(asked.draws):
        shortcut = shortcuts[int(rng.integers(len(shortcuts)))]
        least.append(_least_found(own, class_id, kind, asked.shares, shortcut, rng))
        told(Advanced())
    found = {share: float(np.mean(np.array(least) <= share)) for share in asked.shares}
    enough = (share for share in asked.shares if found[share] >= SURE)
    images = int(own.material.votes.images[class_id])
    return Grade(name, kind.name, certified[name].how, images, certified[name].share, found, next(enough, None))


def _why_not(own: _Own, class_id: int, kind: ClaimKind, tested: bool, placed: bool) -> str:
    """Why a class cannot be graded; empty where it can."""
    if kind.whole and not own.evidence.known.any():
        return "no object is known"
    if not tested:
        return "too few images to be tested"
    if not placed:
        return "there is no place that most of its images leave free"
    return "a claim stands already" if own.found(own.evidence, class_id, kind) else ""


def _places(material: Material, class_id: int, corners: bool) -> NDArray[np.int64]:
    """Places [p, 4], as cells 0..63, that half of the class's images leave free."""
    rows = material.votes.rows[material.votes.of_class(class_id)]
    if not len(rows):
        return np.zeros((0, _SIDE**2), np.int64)
    free = bits_as_cells(material.evidence.clear[rows]).mean(axis=0) >= _FREE
    starts = (0, CELLS - _SIDE) if corners else range(CELLS - _SIDE + 1)
    cells = np.arange(CELLS**2).reshape(CELLS, CELLS)
    places = np.array([cells[y : y + _SIDE, x : x + _SIDE].ravel() for y in starts for x in starts])
    return np.asarray(places[free[places].all(axis=1)], np.int64)


def _least_found(
    own: _Own,
    class_id: int,
    kind: ClaimKind,
    shares: Sequence[float],
    shortcut: Shortcut,
    rng: np.random.Generator,
) -> float:
    """The least of ascending shares at which a shortcut is found; infinite for none."""
    rows = np.flatnonzero(own.evidence.class_id == class_id)
    chance = rng.random(len(rows))
    low, high = 0, len(shares)
    while low < high:
        middle = (low + high) // 2
        planted = shortcut(own.evidence, rows[chance < shares[middle]])
        low, high = (low, middle) if own.found(planted, class_id, kind) else (middle + 1, high)
    return shares[low] if low < len(shares) else np.inf


def plant_shortcut(evidence: Evidence, rows: NDArray[np.integer], place: NDArray[np.integer]) -> Evidence:
    """The same with most of the heat of some targets in one place; where their object does not lie there it is off.

    Args:
        rows: [m] positions in the evidence.
        place: cells, 0..63.
    """
    off_heat, off = evidence.off_heat.copy(), evidence.off.copy()
    moved = (1 - DRAWN) * off_heat[rows].astype(np.float32)
    moved[:, place] += DRAWN / len(place)
    off_heat[rows] = moved
    free = bits_as_cells(evidence.clear[rows])[:, place].mean(axis=1) >= _FREE
    off[rows[free & evidence.known[rows]]] = True
    return replace(evidence, off_heat=off_heat, off=off)
