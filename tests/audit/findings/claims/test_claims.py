"""Claims against plain loops, and planted effects where they are."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest
from made_evidence import CELLS, copied, draw_evidence, material, plant_context, plant_heat

from audit.findings import Claim
from audit.findings.claims.context import Contexts
from audit.findings.claims.contrasts import claim_id
from audit.findings.claims.groups import Groups
from audit.findings.claims.registry import all_claims
from audit.findings.claims.spots import Spots
from audit.findings.claims.votes import count_votes
from audit.findings.claims.zones import ZONES, Zones
from audit.findings.evidence.frame import bits_as_cells, cells_as_bits
from audit.findings.evidence.targets import Evidence

Rows = list[Claim]
CORNER = np.zeros((CELLS, CELLS), bool)
CORNER[-1, -1] = True
DISC = 3


def found(rows: Rows, kind: str | None = None) -> Rows:
    return [row for row in rows if row.found and kind in (None, row.kind)]


def members(evidence: Evidence, class_id: int, rate: float = 1.0) -> np.ndarray:
    chosen = np.random.default_rng(1).random(len(evidence)) < rate
    return np.flatnonzero((evidence.class_id == class_id) & chosen)


def planted(seed: int = 0, images: int = 600) -> Evidence:
    evidence = draw_evidence(images, 8, seed)
    return plant_heat(evidence, members(evidence, DISC, 0.8), CORNER)


def is_clear(evidence: Evidence, i: int, row: int, column: int) -> bool:
    """Whether a cell is clear of the object."""
    return bool(bits_as_cells(evidence.clear[[i]])[0, row * CELLS + column])


def zone_votes(evidence: Evidence, class_id: int, zone: str) -> tuple[int, int]:
    """Images of a class with room in a zone, and those with most heat there beyond twice the odds of its area."""
    seen: dict[int, bool | None] = {}
    for i in range(len(evidence)):
        if evidence.class_id[i] != class_id or not evidence.named[i] or int(evidence.unit[i]) in seen:
            continue
        heat = area = 0.0
        room = 0
        for row in range(CELLS):
            for column in range(CELLS):
                if ZONES[zone][row, column] and is_clear(evidence, i, row, column):
                    room += 1
                    heat += float(evidence.off_heat[i, row * CELLS + column])
                    area += float(evidence.off_area[i, row * CELLS + column])
        odds = heat / (1 - heat) if heat < 1 else np.inf
        shows = heat > 0.5 and odds > 2 * area / (1 - area)
        seen[int(evidence.unit[i])] = shows if 2 * room >= ZONES[zone].sum() else None
    counted = [shows for shows in seen.values() if shows is not None]
    return sum(counted), len(counted)


def test_zones_count_what_plain_loops_count() -> None:
    evidence = planted(images=150)
    rows = Zones().test(material(evidence, 0.9999, 0.1))
    for row in [*rows[:4], *rows[-4:]]:
        shows, of = zone_votes(evidence, row.class_id, row.subject)
        assert (round(row.share * row.targets), row.targets) == (shows, of)
        others = np.array([zone_votes(evidence, c, row.subject) for c in range(8) if c != row.class_id]).sum(axis=0)
        assert row.expected == pytest.approx(others[0] / others[1])


def test_heat_that_spills_over_a_small_object_in_the_middle_is_no_claim() -> None:
    evidence = draw_evidence(600, 8, per_image=1)
    rows, middle, around = members(evidence, DISC), np.zeros((CELLS, CELLS), bool), np.zeros((CELLS, CELLS), bool)
    around[2:5, 3:6] = True
    middle[3, 4] = True
    evidence.off_area[rows] = np.where(middle, 0, 1 / 64).astype(np.float16).ravel()
    evidence.off_heat[rows] = np.where(around & ~middle, 1 / 9, 0).astype(np.float16).ravel()
    evidence.clear[rows] = cells_as_bits(~around.reshape(1, -1))[0]
    claims = all_claims(material(evidence)).claims
    assert not [row for row in found(claims) if row.kind in ("zone", "spot") and row.class_id == DISC]


def test_heat_on_small_things_anywhere_is_no_spot() -> None:
    evidence, rng = draw_evidence(800, 8, per_image=1), np.random.default_rng(0)
    evidence.off_heat[:] = 1 / 64
    evidence.off_area[:] = 1 / 64
    evidence.clear[:] = cells_as_bits(np.ones((1, CELLS**2), bool))[0]
    for i in members(evidence, DISC):
        heat, (row, column) = np.zeros((CELLS, CELLS)), rng.integers(0, 6, 2)
        heat[row : row + 3, column : column + 3] = 1 / 9
        evidence.off_heat[i] = heat.ravel()
    hot = material(evidence).heat.shows[DISC] / count_votes(evidence).images[DISC]
    assert hot.max() > 0.2
    assert not found(all_claims(material(evidence)).claims, "spot")


def test_zones_are_corners_ring_middle_and_halves() -> None:
    sizes = {name: int(zone.sum()) for name, zone in ZONES.items()}
    assert sizes == {
        **dict.fromkeys(("top-left corner", "top-right corner", "bottom-left corner", "bottom-right corner"), 4),
        "centre": 16,
        "upper half": 32,
        "lower half": 32,
        "border": 28,
    }
    assert ZONES["bottom-right corner"][7, 7]
    assert ZONES["upper half"][0].all()
    assert not ZONES["border"][1:7, 1:7].any()


def test_a_planted_corner_is_one_spot_in_the_right_box_and_a_zone() -> None:
    evidence = planted()
    claims = all_claims(material(evidence))
    (spot,) = found(claims.claims, "spot")
    details = spot.details
    assert (spot.class_id, details["box"]) == (DISC, [0.875, 0.875, 1.0, 1.0])
    own = [i for i in members(evidence, DISC) if evidence.named[i]]
    hot = [evidence.off_heat[i, -1] > 0.0625 for i in own if is_clear(evidence, i, 7, 7)]
    assert spot.share == pytest.approx(np.mean(hot))
    assert "in the bottom-right corner" in spot.says
    assert details["heat"] > 0.4 > 0.05 > details["heat_of_others"]
    zones = found(claims.claims, "zone")
    assert {row.class_id for row in zones} == {DISC}
    assert {row.subject for row in zones} == {"bottom-right corner", "border", "lower half"}
    (lower,) = (row for row in zones if row.subject == "lower half")
    assert lower.details["narrower"] == ["bottom-right corner"]


def test_the_sentence_of_a_zone_gives_its_counts() -> None:
    evidence = planted()
    row = Zones().test(material(evidence, 0.05, 0.1))[0]
    shows, of = zone_votes(evidence, DISC, "bottom-right corner")
    start = (
        f"In {shows} of {of} images named class 3 that leave room there, most of the heat lies off the object in the "
    )
    start += "bottom-right corner; "
    assert row.says.startswith(start)
    assert row.says.endswith(f"of other classes' images it does in {round(100 * row.expected)} %.")


def test_of_two_classes_the_one_beside_a_spot_is_not_said_to_look_away_from_it() -> None:
    evidence = draw_evidence(500, 2, per_image=1)
    evidence = plant_heat(evidence, members(evidence, 0, 0.9), CORNER)
    zones = Zones().test(material(evidence, 0.05, 0.1))
    assert {row.class_id for row in found(zones)} == {0}
    assert any("no more than the area accounts for" in row.says for row in zones if row.class_id == 1)


def test_without_masks_a_spot_rests_on_heat_alone() -> None:
    evidence = draw_evidence(600, 8)
    evidence = replace(
        evidence,
        known=np.zeros(len(evidence), bool),
        off_area=np.full_like(evidence.off_area, 1 / 64),
        clear=np.repeat(cells_as_bits(np.ones((1, CELLS**2), bool)), len(evidence)),
        context={name: values[:0] for name, values in evidence.context.items()},
    )
    rows = all_claims(material(plant_heat(evidence, members(evidence, DISC, 0.8), CORNER))).claims
    (spot,) = found(rows, "spot")
    assert (spot.class_id, spot.rests_on) == (DISC, "heat alone")
    assert "off the object" not in spot.says
    assert spot.says.endswith("No object is known here: it may be what lies there.")


@pytest.mark.parametrize(("boxed", "basis"), [(0, "masks"), (1, "boxes"), (0.5, "masks and boxes")])
def test_places_and_groups_rest_on_what_the_objects_were_taken_from(boxed: float, basis: str) -> None:
    evidence = planted()
    evidence = replace(evidence, boxed=np.arange(len(evidence)) % 2 < 2 * boxed)
    rows = all_claims(material(evidence, 0.9999)).claims
    assert {row.kind for row in rows} == {"zone", "spot", "context", "group"}
    assert {row.rests_on for row in rows if row.kind != "group"} == {basis}
    assert {row.rests_on for row in rows if row.kind == "group"} == {basis, "labels"}


def test_two_spots_of_a_class_are_two_claims() -> None:
    evidence, cells = planted(), np.zeros((CELLS, CELLS), bool)
    cells[0, :2] = True
    evidence = plant_heat(evidence, members(evidence, DISC), cells, 0.4)
    spots = found(Spots().test(material(evidence, 0.05, 0.1)))
    boxes = [row.details["box"] for row in spots]
    assert sorted(boxes) == [[0.0, 0.0, 0.25, 0.125], [0.875, 0.875, 1.0, 1.0]]


BARS = np.zeros((CELLS, CELLS), bool)
BARS[[0, -1]] = True
BAND = np.zeros((CELLS, CELLS), bool)
BAND[-1] = True


def spread_over(cue: np.ndarray) -> Evidence:
    """Evidence in which most heat of a class lies in a wide part of the frame, unevenly, here and there in it."""
    evidence, rng = draw_evidence(600, 8), np.random.default_rng(0)
    evidence.clear[:] |= cells_as_bits(cue.reshape(1, -1))[0]
    for i in members(evidence, DISC):
        share = rng.dirichlet(np.full(cue.sum(), 0.7)) * 0.8
        evidence.off_heat[i] *= 0.2
        evidence.off_heat[i, cue.ravel()] += share.astype(np.float16)
    return evidence


@pytest.mark.parametrize(
    ("cue", "words"), [(BARS, "along the top and bottom border"), (BAND, "along the bottom border")]
)
def test_a_wide_cue_is_one_spot_and_named_as_what_it_is(cue: np.ndarray, words: str) -> None:
    spots = found(Spots().test(material(spread_over(cue))))
    assert [(row.class_id, words in row.says) for row in spots] == [(DISC, True)]
    assert np.flatnonzero(cue).tolist() == spots[0].details["region"]


def test_a_frame_is_too_thin_for_a_spot_and_is_the_border() -> None:
    zones = found(Zones().test(material(spread_over(BARS | BARS.T))))
    assert [(row.class_id, row.subject) for row in zones] == [(DISC, "border")]


def test_near_duplicates_make_no_evidence() -> None:
    evidence = draw_evidence(300, 8)
    few = members(evidence, DISC)[:3]
    evidence = plant_heat(evidence, few, CORNER)
    context = {name: values[:0] for name, values in evidence.context.items()}
    many = copied(replace(evidence, context=context), few, 200)
    assert not found(all_claims(material(many)).claims)
    assert all_claims(material(many)).claims == all_claims(material(replace(evidence, context=context))).claims


def beside(evidence: Evidence, class_id: int, other: int) -> list[tuple[int, bool]]:
    """Images of a class that show another: how large that is beside the object, and whether they are a vote."""
    votes = []
    for target, o, heat, area in zip(
        *(evidence.context[k] for k in ("target", "class_id", "heat", "area")), strict=True
    ):
        if evidence.class_id[target] == class_id and o == other and evidence.named[target]:
            own_heat, own_area = (1 - sum(map(float, part[target])) for part in (evidence.off_heat, evidence.off_area))
            by_area = area / max(area + own_area, 1e-300)
            size = sum(by_area >= edge for edge in (0.5, 0.75, 0.9))
            votes.append((size, bool(evidence.off[target] and heat > area and heat > own_heat)))
    return votes


def context_votes(evidence: Evidence, class_id: int, other: int) -> tuple[int, int, float]:
    """Images of a class that can be compared with others as large, those that are votes, and the share expected."""
    shows, of, expected = 0, 0, 0.0
    rest = [vote for c in range(len(evidence.classes)) if c != class_id for vote in beside(evidence, c, other)]
    for size in range(4):
        own, others = ([vote for at, vote in side if at == size] for side in (beside(evidence, class_id, other), rest))
        if own and others:
            shows, of = shows + sum(own), of + len(own)
            expected += len(own) * sum(others) / len(others)
    return shows, of, expected / of


def test_other_classes_are_counted_as_plain_loops_count_them_and_the_planted_one_is_found() -> None:
    evidence = plant_context(draw_evidence(1500, 6), 2, 4)
    rows = Contexts().test(material(evidence, 0.9999, 0.01))
    assert rows
    for row in rows:
        shows, of, expected = context_votes(evidence, row.class_id, evidence.classes.index(row.subject))
        assert (round(row.share * row.targets), row.targets) == (shows, of)
        assert row.expected == pytest.approx(expected)
    (claim,) = found(Contexts().test(material(evidence, 0.05, 0.1)))
    assert (claim.class_id, claim.subject) == (2, "class 4")


def only_pair(evidence: Evidence) -> Evidence:
    """Class 1 alone shows another class, class 0."""
    kept = (evidence.class_id[evidence.context["target"]] == 1) & (evidence.context["class_id"] == 0)
    return replace(evidence, context={name: values[kept] for name, values in evidence.context.items()})


def test_where_no_other_class_shows_it_area_is_compared_with() -> None:
    rows = all_claims(material(plant_context(only_pair(draw_evidence(1500, 5)), 1, 0))).claims
    (claim,) = found(rows, "context")
    details = claim.details
    assert (details["compared_with"], details["together"]["lift"]) == ("area", None)
    assert "by area alone it would in" in claim.says
    assert 0.5 <= claim.expected < 1


def test_heat_spread_by_area_is_no_claim_against_area() -> None:
    false = 0
    for seed in range(100):
        evidence, rng = only_pair(draw_evidence(400, 4, seed)), np.random.default_rng(seed)
        heat = evidence.context["area"] * rng.uniform(0.8, 1.2, len(evidence.context["area"])).astype(np.float32)
        evidence = replace(evidence, context=evidence.context | {"heat": heat}, off_heat=evidence.off_area)
        false += bool(found(Contexts().test(material(evidence, 0.05, 0.1))))
    assert false <= 6


def test_how_often_classes_occur_together_is_told_from_masks_alone() -> None:
    evidence = draw_evidence(1500, 6)
    row = Contexts().test(material(evidence, 0.9999, 0.01))[0]
    together = row.details["together"]
    other = evidence.classes.index(row.subject)
    images = [np.count_nonzero(evidence.named & (evidence.class_id == c)) for c in range(6)]
    shown = [len(beside(evidence, c, other)) for c in range(6)]
    c = row.class_id
    share = shown[c] / images[c]
    expected = (sum(shown) - shown[c]) / (sum(images) - images[c] - images[other])
    assert together["share"] == pytest.approx(share)
    assert together["lift"] == pytest.approx(share / expected)


def doctors_and_nurses() -> Evidence:
    """Women who are doctors are named nurses, for their faces; of attributes else nothing depends on gender."""
    evidence, rng = draw_evidence(1200, 4, per_image=1, groups=(2, 3)), np.random.default_rng(3)
    woman = evidence.attributes["a0"][0] == 1
    doctor = evidence.class_id == 0
    wrong = np.where(doctor & woman, rng.random(1200) < 0.6, rng.random(1200) < 0.1)
    face = np.zeros((CELLS, CELLS), bool)
    face[1:3, 3:5] = True
    off = evidence.off & (rng.random(1200) < 0.5) | (doctor & woman)
    attributes = {"gender": (evidence.attributes["a0"][0], ("man", "woman")), "camera": evidence.attributes["a1"]}
    classes = ("doctor", "nurse", "cook", "pilot")
    evidence = replace(evidence, classes=classes, wrong=wrong, off=off, attributes=attributes)
    return plant_heat(evidence, np.flatnonzero(doctor & woman), face, 0.6)


def test_women_doctors_are_named_wrongly_more_often_and_looked_at_elsewhere() -> None:
    evidence = doctors_and_nurses()
    rows = found(Groups().test(material(evidence, 0.05, 0.1)))
    by_id = {row.claim_id: row for row in rows}
    assert {"group:doctor:gender=woman:wrong", "group:doctor:gender=woman:off_object"} <= set(by_id)
    assert {row.subject for row in rows} == {"gender=woman"}
    assert {row.class_name for row in rows} <= {"doctor", None}
    row = by_id["group:doctor:gender=woman:wrong"]
    women = (evidence.class_id == 0) & (evidence.attributes["gender"][0] == 1)
    assert row.targets == women.sum()
    assert row.share == pytest.approx(evidence.wrong[women].mean())
    men = (evidence.class_id == 0) & ~women
    assert row.expected == pytest.approx(evidence.wrong[men].mean())
    assert row.low < row.share - row.expected < row.high
    assert row.rests_on == "labels"
    assert row.says.startswith(f"Of {women.sum()} images labelled doctor with gender woman, ")
    details = row.details
    difference = details["heat_off"] - details["heat_off_of_others"]
    assert details["heat_off"] == pytest.approx(evidence.off_heat[women].sum(axis=1, dtype=float).mean(), abs=1e-6)
    assert details["heat_off_low"] < difference < details["heat_off_high"]


def test_what_is_not_tested_is_said() -> None:
    evidence = draw_evidence(300, 6, groups=(2, 51))
    evidence.named[evidence.class_id == 5] = False
    evidence.named[members(evidence, 5)[:4]] = True
    claims = all_claims(material(evidence, 0.9999))
    assert claims.untested == [
        "Not tested, with fewer than 5 confidently named images: 1 class (class 5)",
        "Not compared, with more than 50 values: attribute a1 (51)",
    ]
    assert not any(row.class_id == 5 for row in claims.claims if row.kind != "group")
    assert not any(row.subject.startswith("a1=") for row in claims.claims)


def test_a_class_without_others_to_compare_it_with_is_said() -> None:
    evidence = draw_evidence(300, 6, per_image=1)
    evidence.named[(evidence.class_id != 2) & (np.cumsum(evidence.class_id != 2) > 4)] = False
    assert all_claims(material(evidence)).untested[-1] == (
        "Not compared with other classes: class 2; fewer than 5 images of others are named confidently"
    )
    evidence = draw_evidence(60, 2, per_image=1)
    nothing = {name: values[:0] for name, values in evidence.context.items()}
    one = replace(evidence, classes=("class 0",), class_id=np.zeros_like(evidence.class_id), context=nothing)
    alone = all_claims(material(one))
    assert alone.untested == ["Not compared with other classes: class 0; it is the only class"]
    assert {row.kind for row in alone.claims} <= {"group"}


def test_claims_have_ids_of_their_own_and_say_why_they_do_not_stand() -> None:
    claims = all_claims(material(doctors_and_nurses())).claims
    assert len({claim.claim_id for claim in claims}) == len(claims)
    for claim in claims:
        assert Claim.from_row(claim.to_row()) == claim
        assert claim.details
        assert claim.p <= claim.fdr
        assert claim.found == (not any(doubt in claim.says for doubt in ("chance.", "too small", "no more than")))


def test_names_with_colons_and_percent_signs_give_claims_keys_of_their_own() -> None:
    evidence = planted()
    names = ("a", "a:b", "a%3Ab", "n01:cat", *evidence.classes[4:])
    rows = all_claims(material(replace(evidence, classes=names), 0.9999)).claims
    assert len({row.claim_id for row in rows}) == len(rows)
    for row in rows:
        kind, name, *subject = map(unquote, row.claim_id.split(":"))
        assert (kind, name or None, subject[0]) == (row.kind, row.class_name, row.subject)


def test_parts_of_a_key_cannot_run_into_each_other() -> None:
    parts = [("zone", "a:b", "c"), ("zone", "a", "b:c"), ("zone", "a%3Ab", "c"), ("zone", "a", "b", "c")]
    assert len({claim_id(*one) for one in parts}) == len(parts)


def test_q_is_corrected_for_all_that_was_tested_also_for_what_is_not_listed() -> None:
    evidence = draw_evidence(600, 8)
    everything = Zones().test(material(evidence, 0.9999, 0.1))
    listed = {row.claim_id: row for row in Zones().test(material(evidence, 0.05, 0.1))}
    assert all(row.tested == 8 * len(ZONES) for row in everything)
    p = sorted(row.p for row in everything)
    for row in everything:
        q = min(value * row.tested / (rank + 1) for rank, value in enumerate(p) if value >= row.p)
        assert row.q == pytest.approx(min(q, 1))
        assert row.claim_id not in listed or listed[row.claim_id].q == row.q


@pytest.mark.parametrize("name", ["fdr", "least"])
def test_levels_outside_0_to_1_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `{name}` between 0 and 1, got 1.5"):
        material(draw_evidence(20), **{name: 1.5})


def test_maps_without_heat_on_what_counts_do_not_count() -> None:
    evidence = doctors_and_nurses()
    empty = np.arange(len(evidence)) % 7 == 0
    evidence.off_heat[empty] = np.nan
    assert not empty[count_votes(evidence).rows].any()
    for row in all_claims(material(evidence, 0.9999)).claims:
        assert "NaN" not in row.details


def test_no_targets_make_no_claims() -> None:
    evidence = draw_evidence(40)
    nobody = replace(evidence, named=np.zeros(len(evidence), bool), labelled=evidence.labelled & False)
    assert all_claims(material(nobody)) == ([], [])
