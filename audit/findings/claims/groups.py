"""Who is named wrongly, and for whom the model looks off the object: attributes of the samples, value against the rest.

The case is that of Selvaraju et al. (ICCV 2017, section 6.3): a network that told doctors from nurses had seen few
women who are doctors. It named them nurses, and its maps lay on faces and hair. Neither its accuracy over all images
nor that of the class says so; the same by gender does.

Each attribute value is compared with the other values, in each class and over all classes, by exact permutation of the
attribute. Errors are those of images labelled with the class, looking off the object that of images named it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings.claims.contrasts import ALL_CLASSES, Contrasts, Told, against_others
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.votes import MOST_VALUES, object_basis, one_vote, testable
from audit.findings.evidence import Evidence
from audit.findings.frame import frame_totals
from audit.findings.records import Claim
from audit.stats.intervals import difference_interval
from audit.stats.resampling import difference_interval as resampled_difference
from audit.wording import percent

MEASURES = ("wrong", "off_object")


@dataclass(frozen=True)
class Voters:
    """Targets that a measure is of, one a unit and class.

    Attributes:
        measure: wrong or off_object.
        whole: one vote a unit over all classes, instead of one a class.
        rows: [r] positions in the evidence.
        owner: [r] their classes; 0 for all.
        shows: [r] bool, wrong or off the object.
        rests_on: labels, or as `object_basis` says.
    """

    measure: str
    whole: bool
    rows: NDArray[np.int64]
    owner: NDArray[np.int32]
    shows: NDArray[np.bool_]
    rests_on: str


@dataclass(frozen=True)
class Group:
    """An attribute value, among the voters of a class."""

    attribute: str
    code: int
    owner: int
    voters: Voters


class Groups(ClaimKind):
    """Claims `group`, one for each class, attribute value and measure, of attributes with at most 50 values."""

    name = "group"
    title = "a group of images"
    family = "class x attribute value x measure"
    question = "is a group of images (camera, source ...) more often named wrongly, or looked at off the object?"
    compared_with = "images with another value of the attribute"
    stands = "q is small and the share exceeds the other by 0.1"
    numbers = (
        "`measure`: `wrong` or `off_object`; `attribute`, `value`; of found ones `heat_off`, `heat_off_of_others`: "
        "mean share of the heat off the object; `heat_off_low`, `heat_off_high`: 95 % interval of the difference"
    )
    chosen = "The most severe images of the group."
    difference = True

    def test(self, material: Material) -> list[Claim]:
        """Claims of every value that can be compared. Their interval is that of the difference."""
        evidence, family = material.evidence, self.family_in(material)
        groups, (shows, of, all_shows, all_of) = _counts(evidence)
        class_id = np.array([ALL_CLASSES if group.voters.whole else group.owner for group in groups])
        contrasts = against_others(class_id, shows, of, all_shows, all_of)
        low, high = difference_interval(shows, of, all_shows - shows, all_of - of)
        contrasts = replace(contrasts, low=low, high=high)
        stands = family.stand(contrasts)

        def tell(i: int) -> Told:
            group = groups[i]
            measure, value = group.voters.measure, evidence.attributes[group.attribute][1][group.code]
            details: dict[str, Any] = {"measure": measure, "attribute": group.attribute, "value": value}
            details |= _heat_off(evidence, group) if stands[i] else {}
            says = _says(contrasts, i, group, value, evidence.classes)
            return Told(f"{group.attribute}={value}", group.voters.rests_on, says, details, measure)

        return family.claims(contrasts, evidence.classes, tell, len(groups))

    def untested(self, material: Material) -> list[str]:
        """Attributes with too many values to compare."""
        fine = (f"attribute {name} ({count})" for name, count in too_fine(material.evidence).items())
        return [f"Not compared, with more than {MOST_VALUES} values: {name}" for name in fine]

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """The sample is of the group."""
        return evidence.has_value(claim.details["attribute"], claim.details["value"])

    def prominence(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """Severity, or for errors the probability of the label that another class beats, within the group."""
        has = self.shows(claim, evidence)
        if claim.details["measure"] == "wrong":
            return np.where(has & evidence.labelled & evidence.wrong, evidence.probability, -np.inf)
        return np.where(has, super().prominence(claim, evidence), -np.inf)

    def judged_by_background(self, claim: Claim) -> bool:
        """That a group is named wrongly more often says nothing about where heat lies."""
        return bool(claim.details["measure"] != "wrong")


def too_fine(evidence: Evidence) -> dict[str, int]:
    """Attributes with too many values to compare, and how many they have."""
    counts = {name: len(values) for name, (_, values) in evidence.attributes.items()}
    return {name: count for name, count in counts.items() if count > MOST_VALUES}


def _counts(evidence: Evidence) -> tuple[list[Group], NDArray[np.int64]]:
    """What can be tested, and [4, m]: how many show it and how many there are, of the value and of all values."""
    groups: list[Group] = []
    counts = [np.zeros((4, 0), np.int64)]
    every = _voters(evidence)
    for name, (codes, values) in evidence.attributes.items():
        for voters in every if 0 < len(values) <= MOST_VALUES else ():
            table = _table(voters, codes, len(values), len(evidence.classes))
            owner, code = np.nonzero(testable(table[1], table[3]))
            groups += [Group(name, int(c), int(o), voters) for o, c in zip(owner, code, strict=True)]
            counts.append(table[:, owner, code])
    return groups, np.concatenate(counts, axis=1)


def _voters(evidence: Evidence) -> list[Voters]:
    named = evidence.named & evidence.known
    measured = (
        ("wrong", evidence.labelled, evidence.wrong, "labels"),
        ("off_object", named, evidence.off, object_basis(evidence.boxed[named])),
    )
    voters = []
    for measure, chosen, shows, rests_on in measured:
        for whole in (False, True):
            positions = np.flatnonzero(chosen)
            owner = np.zeros(len(positions), np.int32) if whole else evidence.class_id[positions]
            first = one_vote(owner, evidence.unit[positions])
            rows = positions[first]
            voters.append(Voters(measure, whole, rows, owner[first], shows[rows], rests_on))
    return voters


def _table(voters: Voters, codes: NDArray[np.int32], values: int, classes: int) -> NDArray[np.int64]:
    """Counts [4, C, V] as in `_counts`; those without a value do not count."""
    code = codes[voters.rows]
    has = code >= 0
    place = voters.owner[has].astype(np.int64) * values + code[has]
    shows, of = (
        np.bincount(place, weights, classes * values).astype(np.int64).reshape(classes, values)
        for weights in (voters.shows[has], None)
    )
    return np.stack(
        [shows, of, *(np.broadcast_to(part.sum(axis=1, keepdims=True), part.shape) for part in (shows, of))]
    )


def _heat_off(evidence: Evidence, group: Group) -> dict[str, float]:
    """How much heat lies off the object, beside the others; nothing where no object is known."""
    codes = evidence.attributes[group.attribute][0]
    chosen = evidence.known & (codes >= 0) & ~np.isnan(evidence.off_heat[:, 0])
    chosen &= evidence.labelled if group.voters.measure == "wrong" else evidence.named
    if not group.voters.whole:
        chosen &= evidence.class_id == group.owner
    rows = np.flatnonzero(chosen)
    first = codes[rows] == group.code
    if not 0 < np.count_nonzero(first) < len(rows):
        return {}
    heat = frame_totals(evidence.off_heat, rows)
    low, high = resampled_difference(heat[:, None], first, evidence.unit[rows])
    names = ("heat_off", "heat_off_of_others", "heat_off_low", "heat_off_high")
    return dict(zip(names, map(float, (heat[first].mean(), heat[~first].mean(), low[0], high[0])), strict=True))


def _says(contrasts: Contrasts, i: int, group: Group, value: str, classes: tuple[str, ...]) -> str:
    share, expected = percent(contrasts.share[i]), percent(contrasts.expected[i])
    wrong = group.voters.measure == "wrong"
    name = "" if group.voters.whole else f" {'labelled' if wrong else 'named'} {classes[group.owner]}"
    images = f"Of {contrasts.of[i]} images{name} with {group.attribute} {value},"
    if wrong:
        return f"{images} {share} are named wrongly; of the others, {expected}."
    return f"{images} the model looks off the object in {share}; of the others, in {expected}."
