"""What a run's findings rest on, what was tested, what was not, and what would make it testable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from audit.findings.findings import Findings
from audit.wording import number

if TYPE_CHECKING:
    from audit.datasets import Manifest, ManifestFile
    from audit.findings.claims.kind import Material

INTERVENTIONS = "interventions"
_VERIFY = "camaudit verify"


@dataclass(frozen=True)
class Basis:
    """What is known of a run's images, and what could be tested with it.

    Attributes:
        images, masks, boxes, labels: how many images there are; how many have a mask or outlines, boxes alone, a label.
        tested: what was.
        lacking: what was not tested -> what it would take.
    """

    images: int
    masks: int
    boxes: int
    labels: int
    tested: tuple[str, ...]
    lacking: Mapping[str, str]

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
        of = f"of {number(self.images)} images have"
        boxes = f", {number(self.boxes)} boxes alone" if self.boxes else ""
        labels = "" if self.labels == self.images else f", {number(self.labels)} labels"
        return f"{number(self.masks)} {of} masks{boxes}{labels}"

    def _tests_with(self, way: str) -> list[str]:
        return [test for test, needed in self.lacking.items() if needed == way]


def _all(names: Iterable[str]) -> str:
    return ", ".join(names)


def basis_record(manifest: Manifest | ManifestFile, material: Material) -> dict[str, Any]:
    """As summary.json keeps it, from all samples and what claims are made from."""
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
        "tested": [test for test, lack in lacking.items() if not lack],
        "lacking": [[test, lack] for test, lack in lacking.items() if lack],
    }


def _has_some(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.greater(pc.fill_null(pc.list_value_length(lists), 0), 0)


def basis_of(findings: Findings) -> Basis | None:
    """What a flagged run rests on; None where it is not flagged, or was before that was noted."""
    record = (findings.summary() or {}).get("basis")
    if record is None:
        return None
    tested, lacking = tuple(record["tested"]), dict(record["lacking"])
    counts = {name: record[name] for name in ("images", "masks", "boxes", "labels")}
    if findings.has_effects:
        return Basis(**counts, tested=(*tested, INTERVENTIONS), lacking=lacking)
    return Basis(**counts, tested=tested, lacking=lacking | {INTERVENTIONS: _VERIFY})
