"""What findings rest on, as runs with masks, boxes, labels or nothing have it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_evidence import draw_evidence, material
from small_run import make_run

from audit.datasets import Manifest
from audit.datasets.manifest import Box, Sample
from audit.findings import Findings
from audit.findings.pages.basis import Basis, Targets, basis_of, basis_record
from audit.store import Run

TESTS = ["off-object shares", "absent objects", "places", "other objects", "groups", "clusters"]


def test_a_run_without_masks_says_what_it_could_not_test_and_what_it_would_take(tmp_path: Path) -> None:
    basis = basis_of(Findings(Run.open(make_run(tmp_path, masks=False))))
    assert basis is not None
    assert (basis.images, basis.masks, basis.boxes, basis.labels) == (6, 0, 0, 6)
    assert "off-object shares" in basis.lacking
    assert basis.says().startswith("0 of 6 images have masks; nothing was tested; not tested: off-object shares, ")
    assert "To test off-object shares, other objects" in basis.advice()
    assert "To test interventions: camaudit verify" in basis.advice()


def test_images_are_counted_by_what_is_known_of_them() -> None:
    box, square = Box(0, 0, 0, 4, 4), {"mask": "m.png"}
    samples = [
        Sample("a", "a.png", (0,), boxes=(box,), **square),
        Sample("b", "b.png", (0,), boxes=(box,)),
        Sample("c", "c.png", regions="[]"),
        Sample("d", "d.png"),
    ]
    record = basis_record(Manifest.from_samples(samples, ["one"]), material(draw_evidence(40)), 80)
    assert {name: record[name] for name in ("images", "masks", "boxes", "labels")} == {
        "images": 4,
        "masks": 2,
        "boxes": 1,
        "labels": 2,
    }


def test_what_is_tested_follows_from_what_is_known_of_the_targets() -> None:
    manifest, evidence = Manifest.from_samples([Sample("a", "a.png")], ["one"]), draw_evidence(400)
    whole = basis_record(manifest, material(evidence), 1)
    assert whole["tested"] == TESTS
    assert whole["lacking"] == []
    nothing = np.zeros(len(evidence), bool)
    bare = basis_record(manifest, material(replace(evidence, known=nothing)), 1)
    assert bare["tested"] == ["places", "groups"]
    assert dict(bare["lacking"])["absent objects"] == "masks"
    plain = replace(evidence, known=nothing, labelled=nothing)
    assert dict(basis_record(manifest, material(plain), 1)["lacking"])["groups"] == "labels, masks or boxes"
    assert dict(basis_record(manifest, material(replace(plain, attributes={})), 1)["lacking"])["groups"].startswith(
        "attr"
    )
    few = basis_record(manifest, material(replace(plain, named=nothing)), 1)
    assert dict(few["lacking"])["places"] == "5 confidently named images of a class, and of others"


def test_all_that_is_known_is_said_without_advice() -> None:
    basis = Basis(3, 2, 1, 3, ("places",), {})
    assert basis.lines() == ["2 of 3 images have masks, 1 boxes alone; tested: places."]


def test_a_summary_of_before_says_nothing(tmp_path: Path) -> None:
    findings = Findings(Run.open(make_run(tmp_path, flagged=False)))
    assert basis_of(findings) is None


@pytest.mark.parametrize(
    ("aimed", "says"),
    [
        ("detected", "the objects are 90 boxes that the network gave; 1 of 2 images have masks; tested: "),
        ("segmented", "the objects are 90 regions that the network gave; 1 of 2 images have masks; tested: "),
        ("word", "53 of 90 phrases have masks, 27 boxes alone; tested: "),
    ],
)
def test_what_a_network_gave_counts_as_objects_and_not_the_masks_beside(aimed: str, says: str) -> None:
    manifest = Manifest.from_samples([Sample("a", "a.png", mask="m.png"), Sample("b", "b.png")], ["one"])
    evidence = draw_evidence(40)
    of = material(replace(evidence, aimed=aimed, boxed=np.arange(80) % 3 == 1 if aimed == "word" else evidence.boxed))
    record = json.loads(json.dumps(basis_record(manifest, of, 90)))
    assert _as_read(record).says().startswith(says)
    assert ("absent objects" in record["tested"]) == (aimed == "word")


def test_beside_boxes_that_a_network_gave_other_objects_want_masks_or_boxes() -> None:
    evidence = draw_evidence(40)
    nothing = {name: values[:0] for name, values in evidence.context.items()}
    manifest = Manifest.from_samples([Sample("a", "a.png")], ["one"])
    record = basis_record(manifest, material(replace(evidence, aimed="detected", context=nothing)), 1)
    assert dict(record["lacking"])["other objects"] == "masks or boxes"


def _as_read(record: dict[str, Any]) -> Basis:
    counts = {name: record[name] for name in ("images", "masks", "boxes", "labels")}
    return Basis(**counts, tested=tuple(record["tested"]), lacking={}, targets=Targets(**record["targets"]))
