"""What a run's findings rest on, what was tested, what was not, and what would make it testable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from audit.findings.findings import Findings
from audit.findings.records import GIVEN
from audit.wording import number

if TYPE_CHECKING:
    from audit.datasets import Manifest, ManifestFile
    from audit.findings.claims.kind import Material
    from audit.findings.evidence.targets import Evidence

INTERVENTIONS = "interventions"
_CALLED = {"detections": "boxes", "regions": "regions"}
"""What people call what a network gives."""
_PHRASES = "phrases"
_VERIFY = "camaudit verify"


@dataclass(frozen=True)
class Targets:
    """What is asked about instead of classes of images.

    Attributes:
        what: `detections` or `regions`, which the network gave and are their own objects; or `phrases` of texts.
        number: how many have a map.
        masks, boxes: how many of them have a mask, or boxes alone; 0 of those that are their own objects.
    """

    what: str
    number: int
    masks: int
    boxes: int

    def says(self, images: str) -> str:
        """What the objects are, beside what is known of the images.

        >>> Targets("detections", 1200, 0, 0).says("300 of 300 images have masks")
        'the objects are 1,200 boxes that the network gave; 300 of 300 images have masks'
        >>> Targets("phrases", 400, 0, 310).says("0 of 300 images have masks")
        '0 of 400 phrases have masks, 310 boxes alone'
        """
        if self.what in GIVEN.values():
            return f"the objects are {number(self.number)} {_CALLED[self.what]} that the network gave; {images}"
        return _counted(self.masks, self.number, self.what, self.boxes)


@dataclass(frozen=True)
class Basis:
    """What is known of a run's images, and what could be tested with it.

    Attributes:
        images, masks, boxes, labels: how many images there are; how many have a mask or outlines, boxes alone, a label.
        tested: what was.
        lacking: what was not tested -> what it would take.
        targets: what is asked about, if not classes of images.
    """

    images: int
    masks: int
    boxes: int
    labels: int
    tested: tuple[str, ...]
    lacking: Mapping[str, str]
    targets: Targets | None = None

    def says(self) -> str:
        """All of it in a line, without its full stop.

        >>> Basis(280, 0, 0, 280, ("places",), {"off-object shares": "masks or boxes"}).says()
        '0 of 280 images have masks; tested: places; not tested: off-object shares'
        """
        parts = [self._objects()]
        parts += [f"tested: {_all(self.tested)}" if self.tested else "nothing was tested"]
        parts += [f"not tested: {_all(self.lacking)}"] if self.lacking else []
        return "; ".join(parts)

    def advice(self) -> str:
        """What it would take to test the rest, without its full stop; empty where nothing is left.

        >>> lacking = {"off-object shares": "masks or boxes", "groups": "attributes", "clusters": "masks or boxes"}
        >>> Basis(280, 0, 0, 280, (), lacking).advice()
        'To test off-object shares, clusters: masks or boxes. To test groups: attributes'
        """
        ways = dict.fromkeys(self.lacking.values())
        return ". ".join(f"To test {_all(self._tests_with(way))}: {way}" for way in ways)

    def lines(self) -> list[str]:
        """Both as sentences; the first alone where nothing is left to test."""
        return [f"{text}." for text in (self.says(), self.advice()) if text]

    def _objects(self) -> str:
        labels = "" if self.labels == self.images or self.targets else f", {number(self.labels)} labels"
        images = _counted(self.masks, self.images, "images", self.boxes) + labels
        return self.targets.says(images) if self.targets else images

    def _tests_with(self, way: str) -> list[str]:
        return [test for test, needed in self.lacking.items() if needed == way]


def _counted(masks: int, of: int, what: str, boxes: int) -> str:
    return f"{number(masks)} of {number(of)} {what} have masks" + (f", {number(boxes)} boxes alone" if boxes else "")


def _all(names: Iterable[str]) -> str:
    return ", ".join(names)


def basis_record(manifest: Manifest | ManifestFile, material: Material, maps: int) -> dict[str, Any]:
    """As summary.json keeps it, from all samples and what claims are made from.

    Args:
        maps: targets that have one, those among them whose object is not in the image.
    """
    from audit.findings.claims.registry import CLAIM_KINDS

    counts = dict.fromkeys(("masks", "boxes", "labels"), 0)
    for table in manifest.tables(["mask", "regions", "boxes", "labels"]):
        outlined = pc.or_(pc.is_valid(table["mask"]), pc.is_valid(table["regions"]))
        counts["masks"] += pc.sum(outlined).as_py() or 0
        counts["boxes"] += pc.sum(pc.and_not(_has_some(table["boxes"]), outlined)).as_py() or 0
        counts["labels"] += pc.sum(_has_some(table["labels"])).as_py() or 0
    lacking: dict[str, str] = {}
    for kind in (kind for kind in CLAIM_KINDS.values() if kind.applies(material)):
        # What one kind of a family could test was tested.
        test = kind.tests or kind.title
        lacking[test] = lacking.get(test, " ") and kind.lacks(material)
    return {
        "images": len(manifest),
        **counts,
        "targets": _targets_of(material.evidence, maps),
        "tested": [test for test, lack in lacking.items() if not lack],
        "lacking": [[test, lack] for test, lack in lacking.items() if lack],
    }


def _targets_of(evidence: Evidence, maps: int) -> dict[str, Any] | None:
    """As `Targets` has them; None of a classifier's."""
    if evidence.aimed is None:
        return None
    known = evidence.known & (evidence.given is None)
    boxes, masks = (int((known & of).sum()) for of in (evidence.boxed, ~evidence.boxed))
    return {"what": evidence.given or _PHRASES, "number": maps, "masks": masks, "boxes": boxes}


def _has_some(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.greater(pc.fill_null(pc.list_value_length(lists), 0), 0)


def basis_of(findings: Findings) -> Basis | None:
    """What a flagged run rests on; None where it is not flagged, or was before that was noted."""
    record = (findings.summary() or {}).get("basis")
    if record is None:
        return None
    tested, lacking = tuple(record["tested"]), dict(record["lacking"])
    if findings.has_effects:
        tested = (*tested, INTERVENTIONS)
    else:
        lacking |= {INTERVENTIONS: _VERIFY}
    counts = {name: record[name] for name in ("images", "masks", "boxes", "labels")}
    targets = record.get("targets")  # runs of before have none
    return Basis(**counts, tested=tested, lacking=lacking, targets=None if targets is None else Targets(**targets))
