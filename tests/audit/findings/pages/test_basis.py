"""What findings rest on, as runs with masks, boxes, labels or nothing have it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from made_evidence import draw_evidence, material
from small_run import make_run

from audit.datasets import Manifest
from audit.datasets.manifest import Box, Sample
from audit.findings import Findings
from audit.findings.pages.basis import Basis, basis_of, basis_record
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
    record = basis_record(Manifest.from_samples(samples, ["one"]), material(draw_evidence(40)))
    assert {name: record[name] for name in ("images", "masks", "boxes", "labels")} == {
        "images": 4,
        "masks": 2,
        "boxes": 1,
        "labels": 2,
    }


def test_what_is_tested_follows_from_what_is_known_of_the_targets() -> None:
    manifest, evidence = Manifest.from_samples([Sample("a", "a.png")], ["one"]), draw_evidence(400)
    whole = basis_record(manifest, material(evidence))
    assert whole["tested"] == TESTS
    assert whole["lacking"] == []
    nothing = np.zeros(len(evidence), bool)
    bare = basis_record(manifest, material(replace(evidence, known=nothing)))
    assert bare["tested"] == ["places", "groups"]
    assert dict(bare["lacking"])["absent objects"] == "masks"
    plain = replace(evidence, known=nothing, labelled=nothing)
    assert dict(basis_record(manifest, material(plain))["lacking"])["groups"] == "labels, masks or boxes"
    assert dict(basis_record(manifest, material(replace(plain, attributes={})))["lacking"])["groups"].startswith("attr")
    few = basis_record(manifest, material(replace(plain, named=nothing)))
    assert dict(few["lacking"])["places"] == "5 confidently named images of a class, and of others"


def test_all_that_is_known_is_said_without_advice() -> None:
    basis = Basis(3, 2, 1, 3, ("places",), {})
    assert basis.lines() == ["2 of 3 images have masks, 1 boxes alone; tested: places."]


def test_a_summary_of_before_says_nothing(tmp_path: Path) -> None:
    findings = Findings(Run.open(make_run(tmp_path, flagged=False)))
    assert basis_of(findings) is None
