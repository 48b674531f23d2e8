"""Whole classes: do most of the images confidently named so look off the object?

A class is a finding when more of its confidently named targets look off the object than is tolerated (one-sided
binomial test, Benjamini-Hochberg over the classes with images enough: those that cannot be tested must not drown the
others). A unit has one vote: copies cannot make evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from audit.findings.claims.contrasts import claim_id
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.votes import FEWEST
from audit.findings.power import Detectable, in_whole_classes
from audit.findings.records import Claim, ClassFinding
from audit.findings.rules import Rules
from audit.stats.intervals import wilson_interval
from audit.stats.multiplicity import benjamini_hochberg
from audit.wording import percent

_MEANS = ("energy", "area", "lift")


def class_findings(
    columns: Mapping[str, NDArray[Any]], off: NDArray[np.bool_], classes: Sequence[str], rules: Rules
) -> list[ClassFinding]:
    """Every class with scored targets, most suspicious first.

    Args:
        columns: of scored targets: `class_id`, `probability`, `energy`, `area` and `lift`, each [n], and `vote` [n]
            bool, True for one of each unit.
        off: [n] whether there is a finding about the target.
    """
    counts = _counts(columns, off, len(classes), rules)
    present = np.flatnonzero(counts["targets"])
    targets, confident, off_object = (counts[name][present] for name in ("targets", "confident", "off_object"))
    low, high = wilson_interval(off_object, confident)
    p, q = np.full((2, len(present)), np.nan)
    tested = confident >= FEWEST
    p[tested] = binom.sf(off_object[tested] - 1, confident[tested], rules.tolerated)
    if tested.any():
        q[tested] = benjamini_hochberg(p[tested])
    share = np.divide(off_object, confident, out=np.full(len(present), np.nan), where=confident > 0)
    table = {
        "class_id": present,
        "targets": targets,
        "confident": confident,
        "off_object": off_object,
        "share": share,
        "share_low": low,
        "share_high": high,
        **{name: _mean(columns, name, len(classes))[present] for name in _MEANS},
        "p": p,
        "q": q,
        "is_finding": q <= rules.fdr,
    }
    order = np.lexsort((present, -np.nan_to_num(share), q))
    table |= {name: np.where(tested, table[name], None) for name in ("p", "q")}
    rows = zip(*(values[order].tolist() for values in table.values()), strict=True)
    return [ClassFinding(class_name=classes[row[0]], **dict(zip(table, row, strict=True))) for row in rows]


def _counts(
    columns: Mapping[str, NDArray[Any]], off: NDArray[np.bool_], classes: int, rules: Rules
) -> dict[str, NDArray[np.int64]]:
    confident = (columns["probability"] >= rules.confident) & columns["vote"]
    chosen = {"targets": np.ones(len(off), bool), "confident": confident, "off_object": confident & off}
    return {name: np.bincount(columns["class_id"][rows], minlength=classes) for name, rows in chosen.items()}


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
    family = "class"
    question = "do most of its confidently named images look off the object?"
    compared_with = "the share tolerated"
    stands = "q is small"
    numbers = "`off_object`: how many look off it; `energy`, `area`, `lift`: means over the class's scored targets"
    whole = True

    def test(self, material: Material) -> list[Claim]:
        """One claim a class that can be tested, those that are findings among them; see the module."""
        evidence = material.evidence
        boxed = bool(evidence.boxed[evidence.known].all()) and bool(evidence.known.any())
        rests_on = "boxes" if boxed else "masks"
        tested = sum(row.confident >= FEWEST for row in material.classes)
        return [
            self._claim(row, material.rules, tested, rests_on) for row in material.classes if row.confident >= FEWEST
        ]

    def detectable(self, material: Material) -> list[Detectable]:
        """By the binomial test, were no other image off the object."""
        return in_whole_classes(material.classes, material.rules)

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
            expected=rules.tolerated,
            p=row.p,
            q=row.q,
            fdr=rules.fdr,
            family=self.family,
            tested=tested,
            found=row.is_finding,
            rests_on=rests_on,
            says=(
                f"In {row.off_object} of {row.confident} images confidently named {row.class_name} the model looks off "
                f"the object; up to {percent(rules.tolerated)} is tolerated."
            ),
            details={name: getattr(row, name) for name in ("off_object", *_MEANS)},
        )
