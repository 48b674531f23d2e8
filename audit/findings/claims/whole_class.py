"""Whole classes: do more of the images confidently named so look off the object than may?

Half of them may, whatever the other classes are like: `tolerated`. That is lax where hardly any image of the others
looks off its object. So it may be twice as often as in the other classes, or 0.05 more than there, where that is less
than what is tolerated: where all classes err more, they also differ more. The others are those whose objects are as
large and that are named as surely, stratum for stratum: small objects are missed more often, and a model that hesitates
looks about.

Each class is held against one of the two. Which one it is follows from the others' images alone, so nothing is tested
twice: the class's own images have no part in the choice. Beside the others the share must be both more than 0.05 above
theirs and more than twice theirs, so p is the larger of the two tests' (an intersection-union test; Berger 1982).
Benjamini-Hochberg goes over the classes with images enough: those that cannot be tested must not drown the others. A
unit has one vote: copies cannot make evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from audit.findings.claims.contrasts import claim_id
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.votes import FEWEST, object_basis, testable
from audit.findings.evidence.targets import Evidence
from audit.findings.power import MARGINS, Detectable, least_counts, least_shares, most_beside
from audit.findings.records import OTHER_CLASSES, TOLERATED, Claim, ClassFinding
from audit.findings.rules import Rules
from audit.stats.intervals import wilson_interval
from audit.stats.multiplicity import benjamini_hochberg
from audit.stats.strata import p_if_alike, stratified
from audit.wording import percent

SIZES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Between the strata: shares of what was seen that are object."""
SURENESS = (0.7, 0.9, 0.99)
"""Between the strata: probabilities of the class."""
_MEANS = ("energy", "area", "lift")


def class_findings(
    columns: Mapping[str, NDArray[Any]],
    off: NDArray[np.bool_],
    classes: Sequence[str],
    rules: Rules,
    certify: bool = True,
) -> list[ClassFinding]:
    """Every class with scored targets, most suspicious first.

    Args:
        columns: of scored targets: `class_id`, `probability`, `energy`, `area` and `lift`, each [n], and `vote` [n]
            bool, True for one of each unit.
        off: [n] whether there is a finding about the target.
        certify: whether to say how many images off the object are needed for a finding.
    """
    votes = (columns["probability"] >= rules.confident) & columns["vote"]
    strata = by_stratum(columns, off, votes, len(classes))
    all_targets = np.bincount(columns["class_id"], minlength=len(classes))
    present = np.flatnonzero(all_targets)
    off_object, confident = strata[:2, present].sum(axis=2)
    low, high = wilson_interval(off_object, confident)
    share = np.divide(off_object, confident, out=np.full(len(present), np.nan), where=confident > 0)
    bar = _bar(strata[:, present], confident, rules)
    table: dict[str, Any] = {
        "class_id": present,
        "targets": all_targets[present],
        "confident": confident,
        "off_object": off_object,
        "share": share,
        "share_low": low,
        "share_high": high,
        **{name: _mean(columns, name, len(classes))[present] for name in _MEANS},
        "against": np.where(bar.beside, OTHER_CLASSES, TOLERATED),
        **bar.tests(off_object),
        "needed": bar.needed() if certify else np.full(len(present), None),
    }
    order = np.lexsort((present, -np.nan_to_num(share), table["q"]))
    for name in ("expected", "p", "q", "needed"):
        table[name] = np.where(bar.tested, table[name], None)
    rows = zip(*(values[order].tolist() for values in table.values()), strict=True)
    return [ClassFinding(class_name=classes[row[0]], **dict(zip(table, row, strict=True))) for row in rows]


def by_stratum(
    columns: Mapping[str, NDArray[Any]], off: NDArray[np.bool_], votes: NDArray[np.bool_], classes: int
) -> NDArray[np.int64]:
    """Counts [4, C, strata] of votes: off the object, and all, of the class; the same of the other classes.

    Args:
        columns: `class_id`, `probability` and `area`, each [n].
        off: [n] whether a target shows it.
        votes: [n] whether it counts.
    """
    stratum = np.digitize(columns["area"], SIZES) * (len(SURENESS) + 1)
    stratum += np.digitize(columns["probability"], SURENESS)
    strata = (len(SIZES) + 1) * (len(SURENESS) + 1)
    place = columns["class_id"].astype(np.int64) * strata + stratum
    chosen = (votes & off, votes)
    own = [np.bincount(place[rows], minlength=classes * strata).reshape(classes, strata) for rows in chosen]
    return np.stack([*own, *(part.sum(axis=0) - part for part in own)]).astype(np.int64)


@dataclass(frozen=True)
class _Bar:
    """What each class's share is held against; arrays [c].

    Attributes:
        strata: counts [4, c, strata] of `by_stratum`.
        confident: images.
        beside: whether it is the other classes' share, and not the one tolerated.
        expected: the share itself.
        tested: whether there are images enough.
    """

    rules: Rules
    strata: NDArray[np.int64]
    confident: NDArray[np.int64]
    beside: NDArray[np.bool_]
    expected: NDArray[np.float64]
    tested: NDArray[np.bool_]

    def tests(self, off_object: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Columns of findings about classes."""
        p, q = np.full((2, len(self.confident)), np.nan)
        above, twice = (stratified(self.strata, **margin).p for margin in MARGINS)
        p[self.tested] = self._p(off_object, np.maximum(above, twice))[self.tested]
        if self.tested.any():
            q[self.tested] = benjamini_hochberg(p[self.tested])
        return {"expected": self.expected, "p": p, "q": q, "is_finding": q <= self.rules.fdr}

    def needed(self) -> NDArray[np.int64]:
        """Images off the object that make a finding, were it the only one."""
        return least_counts(self.confident, self._p_of, self.rules.fdr / max(int(self.tested.sum()), 1))

    def _p(self, off_object: NDArray[np.integer], beside_others: NDArray[np.float64]) -> NDArray[np.float64]:
        against_tolerated = scipy.stats.binom.sf(off_object - 1, self.confident, self.rules.tolerated)
        return np.where(self.beside, beside_others, against_tolerated)

    def _p_of(self, off_object: NDArray[np.integer]) -> NDArray[np.float64]:
        """Were so many images [c] off the object, the same share in each stratum."""
        above, twice = (p_if_alike(off_object, self.strata, **margin) for margin in MARGINS)
        return self._p(off_object, np.maximum(above, twice))


def _bar(strata: NDArray[np.int64], confident: NDArray[np.int64], rules: Rules) -> _Bar:
    others = stratified(strata, **MARGINS[0])
    enough = testable(others.of, others.of + others.other_of)
    beside = enough & (most_beside(others.expected) < rules.tolerated)
    expected = np.where(beside, others.expected, rules.tolerated)
    return _Bar(rules, strata, confident, beside, expected, confident >= FEWEST)


def _mean(columns: Mapping[str, NDArray[Any]], name: str, classes: int) -> NDArray[np.float64]:
    """[C] of a score by class; heat on void pixels alone has no energy, and does not count."""
    known = ~np.isnan(columns[name])
    ids = columns["class_id"][known]
    sums, counts = np.bincount(ids, columns[name][known], classes), np.bincount(ids, minlength=classes)
    return np.asarray(np.divide(sums, counts, out=np.full(classes, np.nan), where=counts > 0), np.float64)


class WholeClasses(ClaimKind):
    """Claims `class`, one for each class that was named with confidence."""

    name = "class"
    title = "the whole class"
    tests = "off-object shares"
    family = "class"
    question = "do more of its confidently named images look off the object than may?"
    compared_with = (
        "the share tolerated; or the other classes' images with objects as large, named as surely, where twice their "
        "share, and 0.05 above it, are less"
    )
    stands = (
        "q is small: of a share above the one tolerated, or more than 0.05 above the others' and more than twice it"
    )
    numbers = (
        "`off_object`: how many look off it; `energy`, `area`, `lift`: means over the class's scored targets; "
        "`against`: `tolerated` or `other classes`"
    )
    whole = True

    def test(self, material: Material) -> list[Claim]:
        """One claim a class that can be tested, those that are findings among them; see the module."""
        evidence = material.evidence
        rests_on = object_basis(evidence, evidence.known)
        tested = sum(row.confident >= FEWEST for row in material.classes)
        return [
            self._claim(row, material.rules, tested, rests_on) for row in material.classes if row.confident >= FEWEST
        ]

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """The target looks off the object."""
        return evidence.off

    def detectable(self, material: Material) -> list[Detectable]:
        """By the count that its test asks for, were no other image off the object."""
        rows = [(row, row.needed) for row in material.classes if row.needed is not None]
        shares = least_shares(*np.array([(row.confident, needed) for row, needed in rows], np.int64).reshape(-1, 2).T)
        how = "if it draws the heat off the object"
        return [
            Detectable(row.class_name, self.name, "", how, share) for (row, _), share in zip(rows, shares, strict=True)
        ]

    def _claim(self, row: ClassFinding, rules: Rules, tested: int, rests_on: str) -> Claim:
        return Claim(
            claim_id=claim_id(self.name, row.class_name),
            kind=self.name,
            class_id=row.class_id,
            class_name=row.class_name,
            subject="looks off the object",
            targets=row.confident,
            share=row.share,
            low=row.share_low,
            high=row.share_high,
            expected=row.expected,
            p=row.p,
            q=row.q,
            fdr=rules.fdr,
            family=self.family,
            tested=tested,
            found=row.is_finding,
            rests_on=rests_on,
            says=(
                f"In {row.off_object} of {row.confident} images confidently named {row.class_name} the model looks off "
                f"the object; {_compared(row)}."
            ),
            details={name: getattr(row, name) for name in ("off_object", *_MEANS, "against")},
        )


def _compared(row: ClassFinding) -> str:
    if row.against == TOLERATED:
        return f"up to {percent(row.expected)} is tolerated"
    return f"in other classes, of objects as large that are named as surely, it does in {percent(row.expected)}"
