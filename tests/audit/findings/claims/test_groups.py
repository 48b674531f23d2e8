"""Groups where classes differ, and where attributes go together: who is accused, over many drawn collections."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_evidence import draw_evidence, material

from audit.findings import Claim
from audit.findings.claims.groups import Groups
from audit.findings.evidence.targets import Evidence

CLASSES = 8
DRAWS = 60


def two_sites(
    seed: int, images: int = 800, prefers: float = 4, hardest: float = 0.6, worse: float = 0, classes: int = CLASSES
) -> Evidence:
    """Images of two sites: of the harder classes site 0 has so many times as many as site 1.

    Args:
        hardest: how often the hardest class is named wrongly, and looked at off the object; the easiest never is.
        worse: how much more often that is so at site 1.
    """
    rng = np.random.default_rng([seed, 7])
    evidence = draw_evidence(images, classes, seed, per_image=1)
    rate = np.linspace(0, hardest, classes)[evidence.class_id]
    odds = np.where(evidence.class_id >= classes // 2, prefers, 1)
    site = (rng.random(images) > odds / (1 + odds)).astype(np.int32)
    wrong, off = rng.random((2, images)) < rate + worse * site
    return replace(evidence, wrong=wrong, off=off, attributes={"site": (site, ("0", "1"))})


def site_and_camera(
    seed: int, agree: float, camera_worse: float = 0.3, site_worse: float = 0, images: int = 1000
) -> Evidence:
    """Images of which site 1 has camera 1, and site 0 camera 0, at a rate; each adds to the share named wrongly."""
    rng = np.random.default_rng([seed, 7])
    camera = rng.integers(0, 2, images).astype(np.int32)
    site = np.where(rng.random(images) < agree, camera, 1 - camera).astype(np.int32)
    wrong = rng.random(images) < 0.1 + camera_worse * camera + site_worse * site
    attributes = {"site": (site, ("0", "1")), "camera": (camera, ("0", "1"))}
    return replace(draw_evidence(images, CLASSES, seed, per_image=1), wrong=wrong, attributes=attributes)


def standing(evidence: Evidence, subject: str = "") -> list[Claim]:
    claims = Groups().test(material(evidence))
    return [claim for claim in claims if claim.found and claim.subject.startswith(subject)]


def over_all(evidence: Evidence, subject: str) -> Claim | None:
    """The claim about all classes that stands."""
    return next((claim for claim in standing(evidence, subject) if claim.class_id is None), None)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"prefers": 20},
        {"hardest": 0.9},
        {"images": 80},
        {"images": 200, "classes": 20},
        {"images": 5000},
        {"worse": 0.05, "images": 5000, "prefers": 1},
        {"worse": 0.1, "images": 5000, "prefers": 1},
    ],
    ids=str,
)
def test_a_site_that_has_more_of_the_hard_classes_is_not_accused(how: dict[str, float]) -> None:
    false = [bool(standing(two_sites(seed, **how))) for seed in range(DRAWS)]
    assert np.mean(false) <= 0.06


def test_a_site_that_is_worse_in_every_class_is_found_though_it_has_the_easy_ones() -> None:
    found = []
    for seed in range(20):
        evidence = two_sites(seed, worse=0.25)
        found.append(over_all(evidence, "site=1") is not None)
        assert not standing(evidence, "site=0")
    assert np.mean(found) >= 0.9


def test_what_is_expected_of_a_site_is_what_the_others_would_have_in_its_mix_of_classes() -> None:
    evidence = two_sites(0, worse=0.3)
    claim = over_all(evidence, "site=1")
    assert claim is not None
    site = evidence.attributes["site"][0] == 1
    measured = {"wrong": (evidence.labelled, evidence.wrong), "off_object": (evidence.named, evidence.off)}
    counts, shows = measured[claim.details["measure"]]
    expected, images = 0.0, 0
    for class_id in range(CLASSES):
        own, others = (counts & (evidence.class_id == class_id) & side for side in (site, ~site))
        if own.any() and others.any():
            images += own.sum()
            expected += own.sum() * shows[others].mean()
    assert claim.targets == images
    assert claim.expected == pytest.approx(expected / images)
    assert claim.low <= claim.share - claim.expected <= claim.high
    assert "of the others, in the same mix of classes," in claim.says


def test_where_no_class_has_images_of_both_that_is_said() -> None:
    evidence = two_sites(0)
    site = (evidence.class_id >= CLASSES // 2).astype(np.int32)
    evidence = replace(evidence, attributes={"site": (site, ("0", "1"))})
    assert not standing(evidence)
    assert Groups().untested(material(evidence)) == [
        "Not compared over all classes, for hardly any class has other values beside it: site (0, 1)"
    ]


@pytest.mark.parametrize("agree", [0.7, 0.9])
def test_a_site_is_not_accused_of_what_its_camera_does(agree: float) -> None:
    site, camera = [], []
    for seed in range(20):
        evidence = site_and_camera(seed, agree)
        accused = over_all(evidence, "site=1")
        site.append(accused is not None and "it may be the camera" not in accused.says)
        camera.append(over_all(evidence, "camera=1") is not None)
    assert np.mean(site) <= 0.06
    assert np.mean(camera) >= 0.95


def test_what_another_attribute_accounts_for_is_told_with_its_shares_and_does_not_stand() -> None:
    evidence = site_and_camera(0, 0.8, 0.6)
    claims = {claim.claim_id: claim for claim in Groups().test(material(evidence))}
    site = claims["group::site=1:wrong"]
    (beside,) = site.details["beside"]
    assert (site.found, beside["attribute"], beside["accounts"]) == (False, "camera", True)
    shares = f"{round(100 * beside['share'])} %, against {round(100 * beside['expected'])} %"
    assert site.says.endswith(f" Among images of the same camera it is {shares}: the camera accounts for it.")
    assert claims["group::camera=1:wrong"].found
    assert claims["group::camera=1:wrong"].details["beside"] == []


def test_site_and_camera_that_both_matter_are_both_found() -> None:
    found = []
    for seed in range(10):
        evidence = site_and_camera(seed, 0.8, 0.3, 0.3)
        claims = [over_all(evidence, subject) for subject in ("site=1", "camera=1")]
        found.append(all(claim is not None and not claim.details["beside"] for claim in claims))
    assert np.mean(found) >= 0.9


def test_of_attributes_that_always_go_together_both_are_named() -> None:
    evidence = site_and_camera(0, 1)
    for own, other in (("site", "camera"), ("camera", "site")):
        claim = over_all(evidence, f"{own}=1")
        assert claim is not None
        assert claim.says.endswith(f" Few images of the same {other} differ in {own}: it may be the {other}.")
        assert claim.details["beside"][0]["share"] is None


def test_images_without_a_value_count_on_neither_side() -> None:
    evidence = site_and_camera(0, 0.8)
    for name in ("site", "camera"):
        evidence.attributes[name][0][::3] = -1
    kept = np.flatnonzero(np.arange(len(evidence)) % 3)
    assert Groups().test(material(evidence)) == Groups().test(material(evidence.take(kept)))


@pytest.mark.parametrize("measure", ["wrong", "off_object"])
def test_targets_that_show_a_claim_are_of_the_group_and_have_what_is_claimed(measure: str) -> None:
    evidence = two_sites(0, worse=0.5)
    claim = next(claim for claim in standing(evidence, "site=1") if claim.details["measure"] == measure)
    shows = evidence.wrong & evidence.labelled if measure == "wrong" else evidence.off
    np.testing.assert_array_equal(Groups().shows(claim, evidence), shows & (evidence.attributes["site"][0] == 1))
