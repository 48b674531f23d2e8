"""Who votes about a group of images, and on what: named wrongly, looked at off the object, or a detector's errors.

A classifier's errors are those of images labelled with the class. A detector's are asked where how common a class is
has no part in them: a site that hardly ever shows a class has few right boxes of it, so that of its boxes more are
wrong, though the detector treats it no worse.

- `missed`: of images that show the class, whether an object of it has no right box that is sure;
- `confused`: of images with a sure box on an object of the class, whether it is named another;
- `background`: of images that show any object, whether a sure box lies on none.

Boxes of an image are no witnesses of their own: what hides one object hides the next. So a unit has one vote a class,
that of one of its objects, drawn whatever became of it. False alarms have one an image, over all classes.

Where a group's objects are missed more often, more of the boxes that are left may name another class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.findings.claims.votes import object_basis, one_vote
from audit.findings.evidence.box_errors import Attributes, BoxErrors
from audit.findings.evidence.targets import Evidence


class Measure(NamedTuple):
    """What a vote is on, in words.

    Attributes:
        of: which images of a class count; with a place for its name.
        shows: what they show, before the share.
        drew: how a shortcut, or a weakness, would be seen: the images of a group that ...
        then: what they show, behind the share.
    """

    of: str
    shows: str
    drew: str
    then: str = ""

    def says(self, images: str, class_name: str | None, value: str, share: str, others: str, expected: str) -> str:
        """A sentence about a group beside the others."""
        of = f" {self.of.format(class_name)}" if class_name else ""
        if self.then:
            return f"Of {images} images{of} with {value}, {share} {self.then}; {others} {expected}."
        return f"Of {images} images{of} with {value}, {self.shows} in {share}; {others} in {expected}."


WRONG, OFF = "wrong", "off_object"
MEASURES = {
    WRONG: Measure("labelled {}", "", "were named wrongly", "are named wrongly"),
    OFF: Measure("named {}", "the model looks off the object", "were looked at off the object"),
    "missed": Measure("that show {}", "an object is not found with confidence", "had objects missed"),
    "confused": Measure("with a sure box on {}", "a sure box on an object names another class", "had objects confused"),
    "background": Measure("", "a sure box lies on no object", "had sure boxes on no object"),
}
ERRORS = tuple(name for name in MEASURES if name not in (WRONG, OFF))
"""Measures of a detector's errors."""


@dataclass(frozen=True, eq=False)
class Voters:
    """Targets, or boxes and objects, that a measure is of, one a unit and class.

    Attributes:
        measure: one of `MEASURES`.
        whole: one vote a unit over all classes, instead of one a class.
        attributes: of all rows.
        rows: [r] positions among these.
        class_id: [r] their classes; all 0 where classes have no part.
        shows: [r] bool.
        rests_on: labels, boxes, or as `object_basis` says.
    """

    measure: str
    whole: bool
    attributes: Attributes
    rows: NDArray[np.int64]
    class_id: NDArray[np.int32]
    shows: NDArray[np.bool_]
    rests_on: str

    def codes(self, attribute: str) -> NDArray[np.int32]:
        """Of an attribute, [r]; -1 for none."""
        return self.attributes[attribute][0][self.rows]


def voters_of(evidence: Evidence) -> list[Voters]:
    """Of every measure, first class by class and then over all classes."""
    named = evidence.named & evidence.known
    measured = (
        (WRONG, evidence.labelled, evidence.wrong, "labels"),
        (OFF, named, evidence.off, object_basis(evidence, named)),
    )
    voters = []
    for measure, chosen, shows, rests_on in measured:
        positions = np.flatnonzero(chosen)
        class_id, unit = evidence.class_id[positions], evidence.unit[positions]
        for whole in (False, True):
            rows = positions[one_vote(np.zeros_like(class_id) if whole else class_id, unit)]
            of = (evidence.attributes, rows, evidence.class_id[rows], shows[rows], rests_on)
            voters.append(Voters(measure, whole, *of))
    return [*voters, *(_of_boxes(evidence.boxes) if evidence.boxes is not None else ())]


def _of_boxes(boxes: BoxErrors) -> Iterator[Voters]:
    # Rows are by score, missed objects last: in that order the middle one would depend on what became of it.
    drawn = np.random.default_rng(0).permutation(len(boxes.sample))
    on_object = boxes.sure & boxes.of("right", "confused") & (boxes.true_class >= 0)
    measured = (
        ("missed", boxes.of("right", "missed"), boxes.of("missed") | ~boxes.sure),
        ("confused", on_object, boxes.of("confused")),
    )
    for measure, chosen, shows in measured:
        positions = drawn[chosen[drawn]]
        class_id, unit = boxes.true_class[positions], boxes.unit[positions]
        for whole in (False, True):
            rows = positions[one_vote(np.zeros_like(class_id) if whole else class_id, unit)]
            yield Voters(measure, whole, boxes.attributes, rows, boxes.true_class[rows], shows[rows], "boxes")
    yield _false_alarms(boxes)


def _false_alarms(boxes: BoxErrors) -> Voters:
    """One vote a unit, that of its middle image, which any sure box on no object of that image decides."""
    sample, rows = np.unique(boxes.sample, return_index=True)
    shows = np.isin(sample, boxes.sample[boxes.sure & boxes.of("background")])
    nothing = np.zeros(len(rows), np.int32)
    votes = one_vote(nothing, boxes.unit[rows])
    return Voters("background", True, boxes.attributes, rows[votes], nothing[votes], shows[votes], "boxes")
