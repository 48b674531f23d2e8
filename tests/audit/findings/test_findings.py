"""Findings: the shift null against every roll, q values against scipy, and the rules in words."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest, false_discovery_control

from audit.findings import ClassFinding, Rules
from audit.findings.claims.whole_class import class_findings
from audit.findings.judge import q_of_shifts
from audit.findings.rules import kinds, misplacement, severity
from audit.images.views import Fit, View
from audit.scores import shift_null as null
from audit.scores.placed import GRID, Placed, coverage
from audit.scores.shift_null import SHIFTS, ShiftNull, shifted_energies
from audit.stats.intervals import wilson_interval
from audit.stats.multiplicity import benjamini_hochberg, q_of_counts

RULES = Rules()
shares = st.lists(st.integers(1, SHIFTS), min_size=1, max_size=60)


def shift_null(
    maps: NDArray[np.floating], view: View, mask: NDArray[np.int16], class_ids: NDArray[np.int64]
) -> ShiftNull:
    return null.shift_null(Placed.of(maps, view, mask, class_ids, mask.shape))


def blobs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A mask with a box of class 0, one of class 1 and a void rim."""
    mask = np.zeros((height, width), np.int16)
    for value in (1, 2):
        top, left = int(rng.integers(0, height - 8)), int(rng.integers(0, width - 8))
        mask[top : top + 8, left : left + 7] = value
        mask[top : top + 8, left + 7] = -1
    return mask


def view_of(mode: str, height: int, width: int) -> View:
    _, view = Fit(32, mode, 37 if mode == "crop" else None)(np.zeros((height, width, 3), np.uint8))
    return view


@pytest.mark.parametrize("mode", ["squash", "crop", "letterbox"])
def test_p_values_are_those_of_rolling_the_heat_by_all_1024_shifts(rng: np.random.Generator, mode: str) -> None:
    height, width = 37, 52
    mask, view = blobs(rng, height, width), view_of(mode, height, width)
    maps = (rng.normal(size=(2, 7, 7)) ** 3).astype(np.float32)
    low, high, _ = shift_null(maps, view, mask, np.array([0, 1]))
    rows, columns = view.inside(height, width)
    seen, box, start = mask[rows, columns], (view.x0, view.y0, view.x1, view.y1), (rows.start, columns.start)
    valid = oracles.cell_shares(seen >= 0, box, GRID, start)
    for slot in range(2):
        places = (np.arange(GRID) + 0.5) / GRID * 7
        heat = np.array([[max(oracles.bilinear_at(maps[slot], y, x), 0) for x in places] for y in places])
        objects = oracles.cell_shares(seen == slot + 1, box, GRID, start)
        expected = oracles.shift_shares(heat, objects, valid)
        # Single precision may settle a near-tie either way.
        assert (low[slot], high[slot]) == pytest.approx(expected, abs=2.5 / SHIFTS)


def test_classes_beyond_254_are_covered_as_others_are() -> None:
    mask = np.full((32, 32), -1, np.int16)
    mask[:16], mask[16:] = 255, 300
    regions, valid = coverage(View(0, 0, 32, 32), mask)
    assert list(regions) == [254, 299]
    np.testing.assert_array_equal(regions[254], mask == 255)
    np.testing.assert_array_equal(valid, np.ones((32, 32)))


@pytest.mark.parametrize("mode", ["squash", "crop", "letterbox"])
def test_cells_are_covered_by_the_share_of_pixels_that_lies_in_them(rng: np.random.Generator, mode: str) -> None:
    mask, view = blobs(rng, 37, 52), view_of(mode, 37, 52)
    regions, valid = coverage(view, mask)
    rows, columns = view.inside(37, 52)
    box, start = (view.x0, view.y0, view.x1, view.y1), (rows.start, columns.start)
    seen = mask[rows, columns]
    np.testing.assert_allclose(valid, oracles.cell_shares(seen >= 0, box, GRID, start), atol=1e-5)
    assert list(regions) == [int(value) - 1 for value in np.unique(seen) if value > 0]
    for class_id, shares in regions.items():
        np.testing.assert_allclose(shares, oracles.cell_shares(seen == class_id + 1, box, GRID, start), atol=1e-5)


def test_what_a_letterbox_pads_does_not_count() -> None:
    _, valid = coverage(view_of("letterbox", 32, 64), np.zeros((32, 64), np.int16))
    assert not valid[:8].any()
    assert not valid[-8:].any()
    np.testing.assert_allclose(valid[8:-8], 1, atol=1e-6)


def test_each_shifted_energy_belongs_to_the_heat_rolled_that_far(rng: np.random.Generator) -> None:
    heat, objects = rng.random((1, 6, 6)), rng.random((1, 6, 6))
    valid = np.maximum(objects[0], rng.random((6, 6)))
    found = shifted_energies(heat, objects, valid)[0]
    for i, j in np.ndindex(6, 6):
        rolled = np.roll(heat[0], (i, j), (0, 1))
        assert found[i, j] == pytest.approx(oracles.energy(rolled, objects[0], valid), rel=1e-6)


def test_heat_on_the_object_alone_is_rare_among_shifts_and_heat_opposite_avoids_it() -> None:
    mask = np.zeros((64, 64), np.int16)
    mask[16:48, 16:48] = 1
    view = View(0, 0, 64, 64)
    centre = np.zeros((8, 8), np.float32)
    centre[3:5, 3:5] = 1
    low, high, _ = shift_null(np.stack([centre, np.roll(centre, (4, 4), (0, 1))]), view, mask, np.array([0, 0]))
    assert low[0] == 1
    assert high[0] < 0.06
    assert high[1] == 1
    assert low[1] < 0.3


def test_even_heat_is_neither_rare_nor_avoiding() -> None:
    mask = np.zeros((20, 20), np.int16)
    mask[:5] = 1
    low, high, _ = shift_null(np.ones((1, 7, 7), np.float32), View(0, 0, 20, 20), mask, np.array([0]))
    assert (low[0], high[0]) == (1, 1)


def test_heat_that_reaches_no_pixel_that_counts_is_evidence_of_nothing() -> None:
    mask = np.full((20, 20), -1, np.int16)
    low, high, _ = shift_null(np.ones((1, 7, 7), np.float32), View(0, 0, 20, 20), mask, np.array([0]))
    assert (low[0], high[0]) == (1, 1)


def test_p_values_of_heat_put_at_random_are_not_too_often_small(rng: np.random.Generator) -> None:
    mask = blobs(rng, 32, 32)
    mask[mask == -1] = 0
    base = np.zeros((GRID, GRID), np.float32)
    base[3:9, 5:8] = rng.random((6, 3)) + 0.5
    shifts = rng.integers(0, GRID, (1500, 2))
    maps = np.stack([np.roll(base, shift, (0, 1)) for shift in shifts])
    low, high, _ = shift_null(maps, View(0, 0, 32, 32), mask, np.zeros(len(maps), np.int64))
    for p in (low, high):
        assert np.array_equal(p * SHIFTS, np.rint(p * SHIFTS))
        assert p.min() >= 1 / SHIFTS
        for level in (0.01, 0.05, 0.1, 0.25, 0.5):
            spread = 4 * np.sqrt(level * (1 - level) / len(p))
            assert (p <= level).mean() <= level + spread


def test_p_values_of_smooth_random_maps_are_multiples_of_one_in_1024(rng: np.random.Generator) -> None:
    mask = blobs(rng, 40, 30)
    low, high, _ = shift_null(rng.random((50, 7, 7)), View(0, 0, 30, 40), mask, np.zeros(50, np.int64))
    for p in (low, high):
        assert np.array_equal(p * SHIFTS, np.rint(p * SHIFTS))
        assert ((p >= 1 / SHIFTS) & (p <= 1)).all()
    assert (low + high > 1).all()


def test_negative_values_of_a_map_count_as_no_heat(rng: np.random.Generator) -> None:
    maps = rng.normal(size=(3, GRID, GRID)).astype(np.float32)
    arguments = (View(0, 0, 32, 32), blobs(rng, 32, 32), np.array([0, 1, 0]))
    for found, expected in zip(shift_null(maps, *arguments), shift_null(maps.clip(0), *arguments), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_heat_of_a_map_finer_than_the_grid_is_counted_to_the_last_cell(rng: np.random.Generator) -> None:
    """Shifted by nothing, the energy is that of the map itself; a map of single hot pixels hides from no shift."""
    maps = (rng.random((2, 4 * GRID, 4 * GRID)) > 0.99) * rng.normal(size=(2, 4 * GRID, 4 * GRID))
    mask, view = np.ones((GRID, GRID), np.int16), View(0, 0, GRID, GRID)
    mask[:, GRID // 2 :] = 0
    low, high, _ = shift_null(maps.astype(np.float32), view, mask, np.array([0, 0]))
    for slot in range(2):
        heat = np.array(
            [
                [maps[slot, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].clip(0).mean() for j in range(GRID)]
                for i in range(GRID)
            ]
        )
        expected = oracles.shift_shares(heat, mask == 1, np.ones((GRID, GRID)))
        assert (low[slot], high[slot]) == pytest.approx(expected, abs=2.5 / SHIFTS)


@given(shares)
@settings(max_examples=60, deadline=None)
def test_q_values_are_scipys(counts: list[int]) -> None:
    p = np.array(counts) / SHIFTS
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p, method="bh"), rtol=1e-12)


def test_q_values_of_counts_are_those_of_the_p_values_written_out(rng: np.random.Generator) -> None:
    values, counts = np.array([0.001, 0.01, 0.02, 0.4, 0.9]), np.array([3, 1, 0, 20, 5])
    q = q_of_counts(values, counts)
    written = np.repeat(values, counts)
    expected = false_discovery_control(written, method="bh")
    np.testing.assert_allclose(np.repeat(q, counts), expected, rtol=1e-12)


@given(shares)
@settings(max_examples=40, deadline=None)
def test_the_q_values_of_shifts_are_those_of_all_p_values_together(counts: list[int]) -> None:
    p = np.array(counts) / SHIFTS
    np.testing.assert_allclose(q_of_shifts(p.astype(np.float32)), false_discovery_control(p, method="bh"), rtol=1e-9)


def kind(probability: float, misplaced: float, q_low: float) -> object:
    return kinds(np.array([probability]), np.array([misplaced]), np.array([q_low]), RULES)[0]


@pytest.mark.parametrize(
    ("probability", "misplaced", "q_low", "expected"),
    [
        (0.9, 0.4, 0.5, "indifferent"),
        (0.5, 0.05, 0.5, "indifferent"),
        (0.49, 0.4, 0.5, None),  # not named with confidence
        (0.9, 0.049, 0.5, None),
        (0.9, 1.0, 0.05, "avoids"),
        (0.49, 1.0, 0.001, None),  # what is not named need not be looked at
        (0.9, 1.0, np.nan, "indifferent"),
    ],
)
def test_a_target_is_of_the_kind_that_the_rules_say(
    probability: float, misplaced: float, q_low: float, expected: str | None
) -> None:
    assert kind(probability, misplaced, q_low) == expected


def misplaced(p_high: float, energy: float, attainable: float) -> float:
    return float(misplacement(np.array([p_high]), np.array([energy]), np.array([attainable]))[0])


@pytest.mark.parametrize(
    ("p_high", "energy", "attainable", "expected"),
    [
        (0.5, 0.15, 0.6, 0.375),  # half of the places do as well, three quarters of the best are missing
        (0.5, 0.6, 0.6, 0.0),  # as good as it can be, though many places are: a large object
        (0.5, 0.61, 0.6, 0.0),  # pixels may give a little more than cells
        (1.0, 0.0, 0.6, 1.0),
        (1.0, np.nan, np.nan, 0.0),  # no heat that counts
        (1.0, 0.0, 0.0, 0.0),  # no place reaches the object
    ],
)
def test_misplacement_is_the_share_of_places_as_good_times_what_is_missing_to_the_best(
    p_high: float, energy: float, attainable: float, expected: float
) -> None:
    assert misplaced(p_high, energy, attainable) == pytest.approx(expected)


def test_misplacement_is_that_of_rolling_the_heat_over_the_object_in_loops(rng: np.random.Generator) -> None:
    heat = rng.random((8, 8)) ** 4
    objects = np.zeros((8, 8))
    objects[2:4, 5:8] = 1
    ones = np.ones((8, 8))
    energies = [oracles.energy(np.roll(heat, shift, (0, 1)), objects, ones) for shift in np.ndindex(8, 8)]
    as_good = sum(energy >= energies[0] - 1e-9 for energy in energies) / len(energies)
    expected = as_good * (1 - energies[0] / max(energies))
    assert misplaced(as_good, energies[0], max(energies)) == pytest.approx(expected)


@pytest.mark.parametrize("side", [2, 4, 8, 16])
@pytest.mark.parametrize("off", [0, 1])
def test_well_placed_heat_is_no_finding_and_heat_elsewhere_is_one_whatever_the_size_of_the_object(
    side: int, off: int
) -> None:
    mask = np.zeros((GRID, GRID), np.int16)
    mask[:side, :side] = 1
    rows, columns = np.mgrid[:GRID, :GRID] + 0.5
    middle = side / 2 + off * GRID / 2
    spread = np.exp(-((rows - middle) ** 2 + (columns - middle) ** 2) / (2 * 6.0**2))
    null = shift_null(spread[None].astype(np.float32), View(0, 0, GRID, GRID), mask, np.array([0]))
    energy = oracles.energy(spread, mask == 1, np.ones(mask.shape))
    found = misplacement(null.high, np.array([energy]), null.attainable)
    assert kinds(np.ones(1), found, np.ones(1), RULES)[0] == ("indifferent" if off else None)


def test_severity_is_misplacement_times_the_confidence_beyond_even_odds() -> None:
    found = severity(np.array([0.75, 1.0, 0.5, 0.2]), np.array([0.5, 0.25, 1.0, 1.0]))
    np.testing.assert_allclose(found, [0.25, 0.25, 0, 0])


@pytest.mark.parametrize(("count", "total"), [(0, 1), (1, 1), (0, 40), (7, 40), (40, 40), (500, 1234)])
def test_the_interval_is_scipys_wilson(count: int, total: int) -> None:
    low, high = wilson_interval(np.array([count]), np.array([total]))
    expected = binomtest(count, total).proportion_ci(method="wilson")
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_of_nothing_is_nan() -> None:
    low, high = wilson_interval(np.array([0]), np.array([0]))
    assert np.isnan(low[0])
    assert np.isnan(high[0])


def targets(rng: np.random.Generator, count: int, classes: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    columns = {name: rng.random(count) for name in ("probability", "energy", "area", "lift")}
    columns |= {"class_id": rng.integers(0, classes, count), "vote": np.ones(count, bool)}
    return columns, rng.random(count) < 0.4


def test_findings_about_classes_are_those_of_loops_over_their_targets(rng: np.random.Generator) -> None:
    names = ("cat", "dog", "bird", "never")
    columns, off_object = targets(rng, 90, 3)
    rows = class_findings(columns, off_object, names, RULES)
    assert sorted(row.class_name for row in rows) == ["bird", "cat", "dog"]
    p_values = []
    for row in rows:
        members = [i for i in range(90) if columns["class_id"][i] == row.class_id]
        confident = [i for i in members if columns["probability"][i] >= 0.5]
        off = sum(bool(off_object[i]) for i in confident)
        assert (row.targets, row.confident, row.off_object) == (len(members), len(confident), off)
        assert row.class_name == names[row.class_id]
        assert row.share == pytest.approx(off / len(confident))
        interval = binomtest(off, len(confident)).proportion_ci(method="wilson")
        assert (row.share_low, row.share_high) == pytest.approx((interval.low, interval.high))
        for name in ("energy", "area", "lift"):
            assert getattr(row, name) == pytest.approx(np.mean([columns[name][i] for i in members]))
        p_values.append(binomtest(off, len(confident), RULES.tolerated, alternative="greater").pvalue)
    np.testing.assert_allclose([row.p for row in rows], p_values)
    q = false_discovery_control(p_values, method="bh")
    np.testing.assert_allclose([row.q for row in rows], q)
    assert [row.is_finding for row in rows] == [bool(value <= RULES.fdr) for value in q]
    assert [row.q for row in rows] == sorted(row.q for row in rows)


def judged(class_id: list[int], off: NDArray[np.bool_], **changes: NDArray[np.floating]) -> list[ClassFinding]:
    ones = np.ones(len(class_id))
    columns = dict.fromkeys(("probability", "energy", "area", "lift"), ones) | {"vote": ones > 0}
    return class_findings(
        {"class_id": np.array(class_id, int), **columns, **changes}, off, tuple("abcdefghijklmno"), RULES
    )


def test_a_class_mostly_off_the_object_is_a_finding_and_one_mostly_on_it_is_not() -> None:
    rows = judged([0] * 40 + [1] * 40, np.concatenate([np.arange(40) < 30, np.arange(40) < 4]))
    assert {row.class_name: row.is_finding for row in rows} == {"a": True, "b": False}


def test_classes_with_too_few_images_do_not_drown_those_that_can_be_tested() -> None:
    class_id = [0] * 7 + [1] * 6 + [k for k in range(2, 15) for _ in range(4)]
    rows = {row.class_name: row for row in judged(class_id, np.arange(len(class_id)) < 13)}
    assert {name for name, row in rows.items() if row.is_finding} == {"a", "b"}
    assert rows["a"].q == pytest.approx(2 * rows["a"].p)
    assert rows["b"].q == pytest.approx(rows["b"].p)
    assert {row.q for name, row in rows.items() if name not in "ab"} == {None}


def test_a_class_never_named_with_confidence_has_no_share_and_is_no_finding() -> None:
    (row,) = judged([0] * 3, np.ones(3, bool), probability=np.full(3, 0.2))
    assert row.share is not None
    assert np.isnan(row.share)
    assert (row.confident, row.p, row.q, row.is_finding) == (0, None, None, False)
    assert row.plain()["share"] is None


def test_one_target_whose_heat_lies_on_void_does_not_spoil_the_means_of_its_class() -> None:
    energy, lift = np.array([0.2, np.nan, 0.4]), np.array([2.0, np.nan, 4.0])
    (row,) = judged([0] * 3, np.zeros(3, bool), area=np.full(3, 0.1), energy=energy, lift=lift)
    assert row.targets == 3
    assert (row.energy, row.area, row.lift) == pytest.approx((0.3, 0.1, 3.0))


def test_no_targets_are_no_findings_about_classes() -> None:
    assert judged([], np.zeros(0, bool)) == []


@pytest.mark.parametrize("name", ["fdr", "confident", "tolerated"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_rules_outside_0_to_1_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"`{name}` between 0 and 1"):
        Rules(**{name: value})
