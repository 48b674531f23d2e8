"""Who is named wrongly, and for whom the model looks off the object: attributes of the samples, value against the rest.

The case is that of Selvaraju et al. (ICCV 2017, section 6.3): a network that told doctors from nurses had seen few
women who are doctors. It named them nurses, and its maps lay on faces and hair. Neither its accuracy over all images
nor that of the class says so; the same by gender does.

Each attribute value is compared with the other values, in each class and over all classes. Errors are those of images
labelled with the class, looking off the object that of images named it.

Over all classes images are compared class for class: a site that has more of the hard classes is not worse for it. What
the others' share would be in the group's own mix of classes stands beside the group's.

Attributes go together as well, as site and camera do. A claim is held against each other attribute: class for class
and among images of the same value of the other. Where that leaves no difference of the least size, while a claim about
the other attribute holds among images of the same value of this one, the other accounts for it, and the claim does not
stand. Where the images cannot tell, the sentence names the other attribute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings.claims.contrasts import ALL_CLASSES, LEAST, Contrasts, Family, Told, tested_together
from audit.findings.claims.kind import ClaimKind, Material, of_class
from audit.findings.claims.voters import ERRORS, MEASURES, OFF, WRONG, Voters, voters_of
from audit.findings.claims.votes import FEWEST, MOST_VALUES, testable
from audit.findings.evidence.frame import frame_totals
from audit.findings.evidence.targets import Evidence
from audit.findings.power import Detectable, found_from
from audit.findings.records import Claim
from audit.stats.intervals import difference_interval
from audit.stats.margins import exceeds
from audit.stats.resampling import difference_interval as resampled_difference
from audit.stats.strata import Stratified, p_if_alike, stratified
from audit.wording import listed, percent

_MOST_EXAMPLES = 200
"""Boxes that a claim about a detector's errors names."""


@dataclass(frozen=True)
class Group:
    """An attribute value, among the voters of a class or of all classes."""

    attribute: str
    code: int
    class_id: int
    voters: Voters


@dataclass(frozen=True)
class Beside:
    """A group among images of the same value of another attribute.

    Attributes:
        attribute: the other.
        images: of the group that can be compared so.
        share, expected, p: as of the claim; None where too few can be compared.
        accounts: whether the other attribute accounts for the claim; else the images cannot tell.
    """

    attribute: str
    images: int
    share: float | None
    expected: float | None
    p: float | None
    accounts: bool

    def says(self, attribute: str) -> str:
        """What that means for a claim about an attribute."""
        if self.share is None or self.expected is None:
            return f"Few images of the same {self.attribute} differ in {attribute}: it may be the {self.attribute}."
        shares = f"{percent(self.share)}, against {percent(self.expected)}"
        meaning = f"the {self.attribute} accounts for it" if self.accounts else f"it may be the {self.attribute}"
        return f"Among images of the same {self.attribute} it is {shares}: {meaning}."


class Groups(ClaimKind):
    """Claims `group`, one for each class, attribute value and measure, of attributes with at most 50 values."""

    name = "group"
    title = "a group of images"
    tests = "groups"
    family = "class x attribute value x measure"
    question = "is a group of images (camera, source ...) more often named wrongly, or looked at off the object?"
    compared_with = "images with another value of the attribute; over all classes, in the group's own mix of classes"
    stands = "q is small, the share exceeds the other by more than 0.1, and no other attribute accounts for it"
    numbers = (
        "`measure`: `wrong` or `off_object`, and of a detector `missed`, `confused`, `background`, with `examples` as "
        "sample and slot; `attribute`, `value`; where q is small `heat_off`, `heat_off_of_others`: "
        "mean share of the heat off the object; `heat_off_low`, `heat_off_high`: 95 % interval of the difference; "
        "`beside`: other attributes that may be behind it (`attribute`), how many images can be compared with others "
        "of the same value (`images`), `share`, `expected` and `p` among them, and whether it `accounts` for the claim"
    )
    chosen = "The most severe images of the group."
    difference = True

    def test(self, material: Material) -> list[Claim]:
        """Claims of every value that can be compared. Their interval is that of the difference."""
        evidence, family = material.evidence, self.family_in(material)
        groups, contrasts = material.once(_compared)
        beside = _beside(evidence, groups, family.stand(contrasts), family)

        def tell(i: int) -> Told:
            group = groups[i]
            measure, value = group.voters.measure, evidence.attributes[group.attribute][1][group.code]
            details: dict[str, Any] = {"measure": measure, "attribute": group.attribute, "value": value}
            if measure in ERRORS:
                details["examples"] = _examples(evidence, group)
            if i in beside:
                details |= _heat_off(evidence, group) | {"beside": [vars(other) for other in beside[i]]}
            said = (other.says(group.attribute) for other in beside.get(i, ()))
            says = " ".join([_says(contrasts, i, group, value, evidence.classes), *said])
            return Told(f"{group.attribute}={value}", group.voters.rests_on, says, details, measure)

        claims = family.claims(contrasts, evidence.classes, tell, len(groups))
        return sorted(map(_accounted, claims), key=lambda claim: not claim.found)

    def detectable(self, material: Material) -> list[Detectable]:
        """Of groups over all classes, by how many of their images are named wrongly or looked at off the object."""
        family, (groups, _) = self.family_in(material), material.once(_compared)
        level = family.fdr / max(len(groups), 1)
        over_classes = (group for group in groups if group.voters.whole)
        rows = []
        for (attribute, voters), alike in groupby(over_classes, lambda group: (group.attribute, group.voters)):
            _, values = material.evidence.attributes[attribute]
            counts = _counts(voters.codes(attribute), len(values), voters.class_id, len(material.names), voters.shows)
            code = [group.code for group in alike]
            shares = _found_from(counts.swapaxes(1, 2)[:, code], family.least, level)
            how = MEASURES[voters.measure].drew
            subjects = (f"{attribute}={values[i]}" for i in code)
            rows += [Detectable(None, self.name, *row) for row in zip(subjects, repeat(how), shares)]
        return rows

    def lacks(self, material: Material) -> str:
        """Attributes, or what would tell errors or heat off the object."""
        if not material.evidence.attributes:
            return "attributes of the images"
        return "" if material.judged or material.evidence.labelled.any() else "labels, masks or boxes"

    def untested(self, material: Material) -> list[str]:
        """Attributes with too many values to compare, and values that go with the class."""
        fine = (f"attribute {name} ({count})" for name, count in too_fine(material.evidence).items())
        alone = (f"{name} ({listed(values)})" for name, values in _alone(material.evidence).items())
        return [
            *(f"Not compared, with more than {MOST_VALUES} values: {name}" for name in fine),
            *(f"Not compared over all classes, for hardly any class has other values beside it: {at}" for at in alone),
        ]

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        """The sample is of the group, and named wrongly or looked at off the object; none of a detector's errors."""
        group, measure = _of_group(claim, evidence), claim.details["measure"]
        shows = {WRONG: evidence.labelled & evidence.wrong, OFF: evidence.off}.get(measure, np.zeros_like(group))
        return np.asarray(group & shows, bool)

    def event(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """Named wrongly, or looked at off the object; of the group's samples. A detector's errors are of boxes."""
        if claim.details["attribute"] not in evidence.attributes or claim.details["measure"] in ERRORS:
            return np.full(len(evidence), np.nan)
        wrong = claim.details["measure"] == WRONG
        voters = evidence.labelled if wrong else evidence.named & evidence.known
        voters = voters & of_class(claim, evidence.class_id) & _of_group(claim, evidence)
        return np.where(voters, evidence.wrong if wrong else evidence.off, np.nan)

    def prominence(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        """Severity, or for errors the probability of the label that another class beats, within the group."""
        if claim.details["measure"] == WRONG:
            return np.where(self.shows(claim, evidence), evidence.probability, -np.inf)
        return np.where(_of_group(claim, evidence), super().prominence(claim, evidence), -np.inf)

    def judged_by_background(self, claim: Claim) -> bool:
        """That a group is named wrongly more often says nothing about where heat lies."""
        return bool(claim.details["measure"] == OFF)

    def targets(self, claim: Claim, evidence: Evidence) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
        """Of a detector's errors the boxes, as far as they have a map."""
        if claim.details["measure"] not in ERRORS:
            return super().targets(claim, evidence)
        found = np.array(claim.details["examples"], np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1].astype(np.int16)

    def examples(self, claim: Claim) -> list[tuple[int, int]] | None:
        """Of a detector's errors the surest boxes; an object that was missed has none."""
        if claim.details["measure"] not in ERRORS:
            return None
        return [(sample, slot) for sample, slot in claim.details["examples"]]


def _of_group(claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
    return evidence.has_value(claim.details["attribute"], claim.details["value"])


def too_fine(evidence: Evidence) -> dict[str, int]:
    """Attributes with too many values to compare, and how many they have."""
    counts = {name: len(values) for name, (_, values) in evidence.attributes.items()}
    return {name: count for name, count in counts.items() if count > MOST_VALUES}


def _attributes(evidence: Evidence) -> Iterator[tuple[str, NDArray[np.int32], tuple[str, ...]]]:
    """Name, codes and values of those that are compared."""
    for name, (codes, values) in evidence.attributes.items():
        if 0 < len(values) <= MOST_VALUES:
            yield name, codes, values


def _alone(evidence: Evidence) -> dict[str, list[str]]:
    """Attributes, and their values with images enough, of which too few are of classes that other values have too."""
    alone: dict[str, list[str]] = {}
    for name, codes, values in _attributes(evidence):
        rows = np.flatnonzero(evidence.labelled | (evidence.named & evidence.known))
        nothing = np.zeros(len(rows), bool)
        _, of, _, others = _counts(codes[rows], len(values), evidence.class_id[rows], len(evidence.classes), nothing)
        comparable = np.where(others > 0, of, 0).sum(axis=0)
        lone = (comparable < FEWEST) & testable(of.sum(axis=0), np.array(of.sum()))
        if lone.any():
            alone[name] = [values[code] for code in np.flatnonzero(lone)]
    return alone


def _compared(material: Material) -> tuple[list[Group], Contrasts]:
    """All groups that can be compared, tested together."""
    evidence, least = material.evidence, Groups().family_in(material).least
    groups: list[Group] = []
    parts: list[Stratified] = []
    every = voters_of(evidence)
    for name, _, values in _attributes(evidence):
        for voters in every:
            counts = _counts(voters.codes(name), len(values), voters.class_id, len(evidence.classes), voters.shows)
            class_id, code, part = (_over_classes if voters.whole else _in_classes)(counts, least)
            groups += [Group(name, int(v), int(c), voters) for c, v in zip(class_id, code, strict=True)]
            parts.append(part)
    compared = _joined(parts)
    class_ids = np.array([group.class_id for group in groups], np.int64)
    contrasts = tested_together(class_ids, compared.shows, compared.of, compared.expected, compared.p)
    return groups, replace(contrasts, low=compared.low, high=compared.high)


def _counts(
    code: NDArray[np.integer], values: int, stratum: NDArray[np.integer], strata: int, shows: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Counts [4, strata, values] of targets [r]: show it, and all, of the value; the same of the other values.

    Those without a value do not count.
    """
    has = (code >= 0) & (stratum >= 0)
    place = stratum[has].astype(np.int64) * values + code[has]
    own = [
        np.bincount(place, weights, strata * values).astype(np.int64).reshape(strata, values)
        for weights in (shows[has], None)
    ]
    return np.stack([*own, *(part.sum(axis=1, keepdims=True) - part for part in own)])


def _in_classes(counts: NDArray[np.int64], least: float) -> tuple[NDArray[np.integer], NDArray[np.integer], Stratified]:
    """Classes, values, and each against the others of the class."""
    class_id, code = np.nonzero(testable(counts[1], counts[1] + counts[3]))
    shows, of, other_shows, other_of = counts[:, class_id, code]
    interval = difference_interval(shows, of, other_shows, other_of)
    p = exceeds(shows, of, other_shows, other_of, least)
    return class_id, code, Stratified(shows, of, other_of, other_shows / other_of, p, *interval)


def _over_classes(
    counts: NDArray[np.int64], least: float
) -> tuple[NDArray[np.integer], NDArray[np.integer], Stratified]:
    """The same over all classes, class for class."""
    compared = stratified(counts.swapaxes(1, 2), least)
    code = np.flatnonzero(testable(compared.of, compared.of + compared.other_of))
    return np.full(len(code), ALL_CLASSES), code, Stratified._make(column[code] for column in compared)


def _found_from(counts: NDArray[np.int64], least: float, level: float) -> list[float | None]:
    """Shares [k] of the groups' images, alike in all classes, at which they would be found; counts [4, k, classes]."""
    return found_from(counts[1].sum(axis=1), lambda shows: p_if_alike(shows, counts, least), level)


def _joined(parts: Iterable[Stratified]) -> Stratified:
    nothing = stratified(np.zeros((4, 0, 1), np.int64), LEAST)
    return Stratified._make(map(np.concatenate, zip(nothing, *parts, strict=True)))


def _beside(
    evidence: Evidence, groups: list[Group], stands: NDArray[np.bool_], family: Family
) -> dict[int, list[Beside]]:
    """For each group that stands, by its place, the attributes that may be behind it."""
    standing = [groups[i] for i in np.flatnonzero(stands)]
    return {
        int(i): [
            beside
            for name, *_ in _attributes(evidence)
            if name != groups[i].attribute
            and (beside := _held_against(evidence, groups[i], name, standing, family)) is not None
        ]
        for i in np.flatnonzero(stands)
    }


def _held_against(
    evidence: Evidence, group: Group, attribute: str, standing: list[Group], family: Family
) -> Beside | None:
    """What another attribute has to do with a group; None where the claim holds beside it, or it shows nothing."""
    shows, of, other_of, expected, p, *_ = (column[0] for column in _within(evidence, group, attribute, family.least))
    rivals = [rival for rival in standing if rival.attribute == attribute and _same_images(rival, group)]
    if not testable(of, of + other_of):
        return Beside(attribute, int(of), None, None, None, accounts=False) if rivals else None
    share = float(shows / of)
    gone = share - expected < family.least
    if p <= family.fdr or not (gone or rivals):
        return None
    hold = (_within(evidence, rival, group.attribute, family.least).p[0] <= family.fdr for rival in rivals)
    return Beside(attribute, int(of), share, float(expected), float(p), accounts=bool(gone and any(hold)))


def _same_images(first: Group, second: Group) -> bool:
    return first.voters is second.voters and first.class_id == second.class_id


def _within(evidence: Evidence, group: Group, attribute: str, least: float) -> Stratified:
    """The group [1] against others of the same class and of the same value of another attribute."""
    voters = group.voters
    values = evidence.attributes[attribute][1]
    of_class = voters.whole | (voters.class_id == group.class_id)
    codes, strata = voters.codes(group.attribute)[of_class], voters.codes(attribute)[of_class]
    stratum = np.where(strata < 0, -1, voters.class_id[of_class] * len(values) + strata)
    code = np.where(codes < 0, -1, codes != group.code)
    counts = _counts(code, 2, stratum, len(evidence.classes) * len(values), voters.shows[of_class])
    return stratified(counts[:, None, :, 0], least)


def _accounted(claim: Claim) -> Claim:
    """The claim, which does not stand if another attribute accounts for it."""
    return replace(claim, found=claim.found and not any(b["accounts"] for b in claim.details.get("beside", ())))


def _examples(evidence: Evidence, group: Group) -> list[list[int]]:
    """Samples and slots of boxes that show what a group is held for."""
    boxes = evidence.boxes
    if boxes is None:
        return []
    rows = boxes.sure & (boxes.slot >= 0) & boxes.of(group.voters.measure)
    rows &= boxes.attributes[group.attribute][0] == group.code
    if not group.voters.whole:
        rows &= boxes.true_class == group.class_id
    chosen = np.flatnonzero(rows)[:_MOST_EXAMPLES]
    named: list[list[int]] = np.stack([boxes.sample[chosen], boxes.slot[chosen]], axis=1).tolist()
    return named


def _heat_off(evidence: Evidence, group: Group) -> dict[str, float]:
    """How much heat lies off the object, beside the others; nothing where no object is known."""
    codes = evidence.attributes[group.attribute][0]
    chosen = evidence.known & (codes >= 0) & ~np.isnan(evidence.off_heat[:, 0])
    chosen &= evidence.labelled if group.voters.measure == WRONG else evidence.named
    if not group.voters.whole:
        chosen &= evidence.class_id == group.class_id
    rows = np.flatnonzero(chosen)
    first = codes[rows] == group.code
    if not 0 < np.count_nonzero(first) < len(rows):
        return {}
    heat = frame_totals(evidence.off_heat, rows)
    low, high = resampled_difference(heat[:, None], first, evidence.unit[rows])
    names = ("heat_off", "heat_off_of_others", "heat_off_low", "heat_off_high")
    return dict(zip(names, map(float, (heat[first].mean(), heat[~first].mean(), low[0], high[0])), strict=True))


def _says(contrasts: Contrasts, i: int, group: Group, value: str, classes: tuple[str, ...]) -> str:
    whole, measure = group.voters.whole, MEASURES[group.voters.measure]
    name = None if whole else classes[group.class_id]
    others = "of the others, in the same mix of classes," if whole and measure.of else "of the others,"
    shares = percent(contrasts.share[i]), others, percent(contrasts.expected[i])
    return measure.says(str(contrasts.of[i]), name, f"{group.attribute} {value}", *shares)
